"""Several endpoints for one model: how they share the work, and what becomes of it when one is down."""

import asyncio
import random
import threading
from collections.abc import Iterator

import pytest

from magicoder.errors import TeacherError
from magicoder.llms._breaker import Breaker
from magicoder.llms._dispatch import Dispatcher
from magicoder.llms._endpoint import Endpoint
from magicoder.llms._pool import Pool
from magicoder.llms._throttle import Throttle
from magicoder.llms.openai_chat import Address, OpenAIChat
from magicoder.records import Completion, Failure
from tests.chat_client import (
    ask,
    client,
    no_key,  # noqa: F401 - a fixture
    prompt,
)
from tests.faulty_server import KEY, FaultyServer
from tests.unit.test_openai_chat_outages import all_answered, drive


@pytest.fixture
def servers() -> Iterator[tuple[FaultyServer, FaultyServer]]:
    with FaultyServer(latency_s=0.02) as one, FaultyServer(latency_s=0.02) as two:
        yield one, two


Two = tuple[FaultyServer, FaultyServer]


def both(servers: Two, **changes: object) -> OpenAIChat:
    return client(servers[0], base_urls=tuple(s.url for s in servers), **changes)


def asked(server: FaultyServer) -> int:
    return sum(server.requests.values())


def test_endpoints_share_the_work_evenly_and_capacities_add_up(servers: Two) -> None:
    llm = both(servers, concurrency=10)
    with llm.open() as session:
        assert session.capacity == 20
        assert all_answered(drive(session, [f"p{i}" for i in range(200)]), 200)
    assert asked(servers[0]) + asked(servers[1]) == 200
    assert 60 <= asked(servers[0]) <= 140
    assert servers[0].most_in_flight <= 10


def test_a_weight_gives_an_endpoint_more(servers: Two) -> None:
    llm = both(servers, concurrency=20, weights=(1.0, 4.0))
    with llm.open() as session:
        assert session.capacity == 25
        assert all_answered(drive(session, [f"p{i}" for i in range(300)]), 300)
    assert servers[0].most_in_flight <= 5
    assert asked(servers[1]) > 2 * asked(servers[0])


def test_few_prompts_go_where_there_is_most_room(servers: Two) -> None:
    with both(servers, concurrency=64, weights=(1.0, 2.0)).open() as session:
        for i in range(9):
            session.submit(i, prompt(f"p{i}"))
        finished = 0
        while finished < 9:
            finished += len(session.collect())
    assert asked(servers[1]) == 9  # 64 places, of which never fewer than 55 of weight 1 are free


def test_a_dead_endpoints_prompts_move_and_it_is_used_again_when_it_is_back(servers: Two) -> None:
    notes = set()

    def outage() -> None:
        while asked(servers[0]) < 40:
            threading.Event().wait(0.005)
        servers[0].stop()
        threading.Event().wait(0.6)
        servers[0].start()

    saboteur = threading.Thread(target=outage)
    with both(servers, concurrency=8, max_retries=2, retry_delay_s=0.05).open() as session:
        saboteur.start()
        for _ in range(8):
            assert all_answered(drive(session, [f"p{_} {i}" for i in range(120)]), 120)
            notes.add(session.note)
        saboteur.join()
        before = asked(servers[0])
        assert all_answered(drive(session, [f"q{i}" for i in range(200)]), 200)
        assert session.note == ""
    assert asked(servers[0]) > before
    assert "1 of 2 endpoints down" in notes
    total = asked(servers[0]) + asked(servers[1])
    assert total <= 8 * 120 + 200 + 16  # only what was in flight there was sent twice


def test_an_endpoint_that_fails_everything_is_done_without(servers: Two) -> None:
    with both(servers, concurrency=8, max_retries=1).open() as session:
        assert all_answered(drive(session, [f"p{i}" for i in range(40)]), 40)
        servers[0].fault("500")
        assert all_answered(drive(session, [f"q{i}" for i in range(200)]), 200)
        assert session.note == "1 of 2 endpoints down"


def test_one_of_two_may_be_down_at_the_start_and_joins_later(servers: Two) -> None:
    servers[0].stop()
    with both(servers, concurrency=8).open() as session:
        assert all_answered(drive(session, [f"p{i}" for i in range(20)]), 20)
        assert session.note == "1 of 2 endpoints down"
        servers[0].start()
        while session.note:
            assert all_answered(drive(session, ["again"]), 1)
        assert all_answered(drive(session, [f"q{i}" for i in range(100)]), 100)
    assert asked(servers[0]) > 0


def test_when_all_are_unreachable_at_the_start_the_first_is_explained(servers: Two) -> None:
    for server in servers:
        server.stop()
    with pytest.raises(TeacherError, match=f"cannot reach {servers[0].url}"):
        ask(both(servers), prompt("x"))


def test_another_model_at_one_of_them_is_a_mistake_to_mend(servers: Two) -> None:
    servers[1].models = ("other",)
    with pytest.raises(TeacherError, match=f"{servers[1].url} has no model 'mock'"):
        ask(both(servers), prompt("x"))


def test_poison_is_given_up_wherever_it_goes(servers: Two) -> None:
    for server in servers:
        server.fault("500", only="poison")
    answers = ask(both(servers, concurrency=4), *(prompt(f"{'poison' if i % 7 == 0 else 'p'}{i}") for i in range(70)))
    assert sorted(t for t, a in answers.items() if isinstance(a, Failure)) == list(range(0, 70, 7))


def test_each_endpoint_can_have_a_key_of_its_own(servers: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_ONE", KEY)
    monkeypatch.setenv("KEY_TWO", KEY + "2")
    servers[0].key, servers[1].key = KEY, KEY + "2"
    answers = ask(both(servers, api_key_envs=("KEY_ONE", "KEY_TWO")), *(prompt(f"p{i}") for i in range(20)))
    assert all(isinstance(a, Completion) for a in answers.values())
    assert asked(servers[0]) > 0
    assert asked(servers[1]) > 0


def test_an_account_that_runs_dry_on_the_way_is_done_without(servers: Two) -> None:
    with both(servers, concurrency=8).open() as session:
        assert all_answered(drive(session, [f"p{i}" for i in range(40)]), 40)
        servers[0].fault("quota")
        assert all_answered(drive(session, [f"q{i}" for i in range(60)]), 60)
        assert session.note == "1 of 2 endpoints down"
        servers[1].fault("quota")
        session.submit(0, prompt("x"))
        with pytest.raises(TeacherError, match="no credit left"):
            session.collect()


def test_an_endpoint_that_refuses_more_is_sent_less(servers: Two) -> None:
    servers[0].limit = 4
    answers = ask(both(servers, concurrency=32), *(prompt(f"p{i}") for i in range(600)))
    assert all(isinstance(a, Completion) for a in answers.values())
    assert asked(servers[1]) > 2 * asked(servers[0])


def test_a_place_given_back_goes_to_who_waits_and_not_to_who_gave_up() -> None:
    async def scenario() -> None:
        pool = Pool()
        address = Address(url="http://localhost:1/v1", api_key_env="K", share=1.0)
        settings = OpenAIChat(model="m")
        endpoint = Endpoint(settings, address, Throttle(1, pool.wake))
        pool.breakers = [Breaker(settings, endpoint, Dispatcher(settings, None), random.Random(0))]
        await pool.enter(1)
        given_up, told_too_late, waiting = (asyncio.create_task(pool.enter(1)) for _ in range(3))
        await asyncio.sleep(0)
        given_up.cancel()
        endpoint.throttle.leave()
        pool.wake()
        told_too_late.cancel()  # its place is there, but it does not know yet
        await asyncio.gather(given_up, told_too_late, return_exceptions=True)
        assert (await waiting).endpoint is endpoint
        assert endpoint.throttle.free == 0

    asyncio.run(scenario())
