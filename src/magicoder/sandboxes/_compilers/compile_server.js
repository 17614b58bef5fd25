// Compiles TypeScript programs for as long as it is asked to. The libraries' declarations are parsed once.
//
// Started with the path of typescript.js. A question is a list of source files, an answer a verdict, what the compiler
// said, and JavaScript files; see messages.py. The compiler is shown the files of the question and the libraries'
// declarations, nothing else: no tsconfig.json, no node_modules, no plugins.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const ts = require(process.argv[2]);

const FAILED = 0;
const COMPILED = 1;
const UNSURE = 2;

// The same options as in languages/typescript.py.
const OPTIONS = {
  target: ts.ScriptTarget.ESNext,
  module: ts.ModuleKind.CommonJS,
  moduleResolution: ts.ModuleResolutionKind.Node10,
  esModuleInterop: true,
  types: [],
  skipLibCheck: true,
};
const ROOT = "/program";
const LIBRARIES = path.dirname(ts.getDefaultLibFilePath(OPTIONS));
const parsed = new Map();

function library(name) {
  if (path.dirname(name) !== LIBRARIES || !/^lib(\.[\w.-]+)?\.d\.ts$/.test(path.basename(name))) return undefined;
  if (!parsed.has(name)) {
    const text = fs.existsSync(name) ? fs.readFileSync(name, "utf8") : undefined;
    const target = { languageVersion: OPTIONS.target };
    parsed.set(name, text === undefined ? undefined : ts.createSourceFile(name, text, target));
  }
  return parsed.get(name);
}

function host(sources, made) {
  const read = (name) => sources.get(name) ?? library(name)?.text;
  return {
    fileExists: (name) => read(name) !== undefined,
    readFile: read,
    directoryExists: (name) => name === ROOT || [...sources.keys()].some((file) => file.startsWith(`${name}/`)),
    getDirectories: () => [],
    getSourceFile: (name, target) =>
      sources.has(name) ? ts.createSourceFile(name, sources.get(name), target) : library(name),
    getDefaultLibFileName: (options) => ts.getDefaultLibFilePath(options),
    getDefaultLibLocation: () => LIBRARIES,
    writeFile: (name, text) => made.set(path.posix.relative(ROOT, name), text),
    getCurrentDirectory: () => ROOT,
    getCanonicalFileName: (name) => name,
    useCaseSensitiveFileNames: () => true,
    getNewLine: () => "\n",
    realpath: (name) => name,
  };
}

function compile(sources) {
  const made = new Map();
  const here = host(sources, made);
  const roots = [...sources.keys()].filter((name) => /\.([cm]?ts|tsx)$/.test(name));
  const program = ts.createProgram(roots, OPTIONS, here);
  // In the compiler's own order: a program that is no TypeScript at all is not asked about its types.
  let found = program.getSyntacticDiagnostics();
  if (found.length === 0) {
    found = [...program.getOptionsDiagnostics(), ...program.getGlobalDiagnostics()];
    if (found.length === 0) found = program.getSemanticDiagnostics();
  }
  found = [...found, ...program.emit().diagnostics];
  const failed = found.some((one) => one.category === ts.DiagnosticCategory.Error);
  return [failed ? FAILED : COMPILED, ts.formatDiagnostics(ts.sortAndDeduplicateDiagnostics(found), here), made];
}

function question(bytes) {
  const sources = new Map();
  let at = 4;
  const next = () => {
    const length = bytes.readUInt32BE(at);
    at += 4 + length;
    return bytes.toString("utf8", at - length, at);
  };
  for (let left = bytes.readUInt32BE(0); left > 0; left--) {
    const name = next();
    sources.set(`${ROOT}/${name}`, next());
  }
  return sources;
}

function number(value) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function answer(bytes) {
  let [verdict, said, made] = [UNSURE, "", new Map()];
  try {
    [verdict, said, made] = compile(question(bytes));
  } catch (broken) {
    said = String(broken); // a stack too small, or the compiler's own mistake
  }
  const parts = [Buffer.from([verdict])];
  const put = (text) => {
    const content = Buffer.from(text);
    parts.push(number(content.length), content);
  };
  put(said);
  parts.push(number(verdict === COMPILED ? made.size : 0));
  if (verdict === COMPILED) for (const [name, text] of made) (put(name), put(text));
  return Buffer.concat(parts);
}

function readFully(length) {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; ) {
    const got = fs.readSync(0, bytes, at, length - at, null);
    if (got === 0) process.exit(0);
    at += got;
  }
  return bytes;
}

function writeFully(bytes) {
  for (let at = 0; at < bytes.length; ) at += fs.writeSync(1, bytes, at);
}

for (;;) {
  const asked = readFully(readFully(4).readUInt32BE(0));
  const answered = answer(asked);
  writeFully(Buffer.concat([number(answered.length), answered]));
}
