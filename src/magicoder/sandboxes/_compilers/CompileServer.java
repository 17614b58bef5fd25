import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.File;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.io.StringWriter;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import javax.tools.FileObject;
import javax.tools.ForwardingJavaFileManager;
import javax.tools.JavaCompiler;
import javax.tools.JavaFileManager;
import javax.tools.JavaFileObject;
import javax.tools.SimpleJavaFileObject;
import javax.tools.StandardJavaFileManager;
import javax.tools.StandardLocation;
import javax.tools.ToolProvider;

/**
 * Compiles Java programs for as long as it is asked to, without starting anew for each.
 *
 * <p>A question is a list of source files, an answer a verdict, what the compiler said, and class files; see
 * messages.py. Sources and classes stay in memory. Annotation processors are off, and there is no source path, so no
 * part of a program runs here and no file but those of the class path is opened.
 */
public final class CompileServer {
    private static final int FAILED = 0;
    private static final int COMPILED = 1;
    private static final int UNSURE = 2;

    private static final class Source extends SimpleJavaFileObject {
        private final String name;
        private final String text;

        Source(String name, String text) {
            super(URI.create("memory:///" + name.replaceAll("[^\\w/.$-]", "_")), Kind.SOURCE);
            this.name = name;
            this.text = text;
        }

        @Override
        public String getName() {
            return name;
        }

        @Override
        public CharSequence getCharContent(boolean ignoreEncodingErrors) {
            return text;
        }

        @Override
        public boolean isNameCompatible(String simpleName, Kind kind) {
            return kind == Kind.SOURCE && name.substring(name.lastIndexOf('/') + 1).equals(simpleName + ".java");
        }
    }

    private static final class Made extends SimpleJavaFileObject {
        final ByteArrayOutputStream bytes = new ByteArrayOutputStream();

        Made(String name) {
            super(URI.create("memory:///" + name.replaceAll("[^\\w/.$-]", "_")), Kind.CLASS);
        }

        @Override
        public OutputStream openOutputStream() {
            return bytes;
        }
    }

    /** Keeps what is compiled; everything else is looked up as the compiler always does. */
    private static final class Memory extends ForwardingJavaFileManager<StandardJavaFileManager> {
        final Map<String, Made> made = new TreeMap<>();

        Memory(StandardJavaFileManager files) {
            super(files);
        }

        @Override
        public JavaFileObject getJavaFileForOutput(
                JavaFileManager.Location location, String className, JavaFileObject.Kind kind, FileObject sibling) {
            return made.computeIfAbsent(className.replace('.', '/') + ".class", Made::new);
        }

        @Override
        public FileObject getFileForOutput(
                JavaFileManager.Location location, String packageName, String name, FileObject sibling)
                throws IOException {
            throw new IOException("only classes are made");
        }

        @Override
        public void close() {}
    }

    public static void main(String[] arguments) throws IOException {
        JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
        StandardJavaFileManager files =
                compiler.getStandardFileManager(null, Locale.ROOT, StandardCharsets.UTF_8);
        List<File> libraries = new ArrayList<>();
        for (String argument : arguments) {
            if (new File(argument).isFile()) {
                libraries.add(new File(argument));
            }
        }
        files.setLocation(StandardLocation.CLASS_PATH, libraries);
        files.setLocation(StandardLocation.SOURCE_PATH, List.of());
        DataInputStream in = new DataInputStream(new BufferedInputStream(System.in, 1 << 16));
        DataOutputStream out = new DataOutputStream(new BufferedOutputStream(System.out, 1 << 16));
        System.setOut(new PrintStream(OutputStream.nullOutputStream()));
        while (true) {
            byte[] question;
            try {
                question = in.readNBytes(in.readInt());
            } catch (EOFException end) {
                return;
            }
            byte[] answer = answer(compiler, files, question);
            out.writeInt(answer.length);
            out.write(answer);
            out.flush();
        }
    }

    private static byte[] answer(JavaCompiler compiler, StandardJavaFileManager files, byte[] question)
            throws IOException {
        List<Source> sources = new ArrayList<>();
        DataInputStream in = new DataInputStream(new java.io.ByteArrayInputStream(question));
        for (int left = in.readInt(); left > 0; left--) {
            String name = new String(in.readNBytes(in.readInt()), StandardCharsets.UTF_8);
            sources.add(new Source(name, new String(in.readNBytes(in.readInt()), StandardCharsets.UTF_8)));
        }
        Memory memory = new Memory(files);
        StringWriter said = new StringWriter();
        int verdict;
        try {
            List<String> options = List.of("-proc:none", "-nowarn", "-encoding", "UTF-8");
            verdict = compiler.getTask(said, memory, null, options, null, sources).call() ? COMPILED : FAILED;
        } catch (RuntimeException | Error broken) { // a stack or heap too small, or the compiler's own mistake
            said.write(broken.toString());
            verdict = UNSURE;
        }
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        DataOutputStream out = new DataOutputStream(bytes);
        out.writeByte(verdict);
        put(out, said.toString().getBytes(StandardCharsets.UTF_8));
        out.writeInt(verdict == COMPILED ? memory.made.size() : 0);
        if (verdict == COMPILED) {
            for (Map.Entry<String, Made> made : memory.made.entrySet()) {
                put(out, made.getKey().getBytes(StandardCharsets.UTF_8));
                put(out, made.getValue().bytes.toByteArray());
            }
        }
        return bytes.toByteArray();
    }

    private static void put(DataOutputStream out, byte[] bytes) throws IOException {
        out.writeInt(bytes.length);
        out.write(bytes);
    }
}
