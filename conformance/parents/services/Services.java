import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** A Java service. Arguments: threads|executor|handover|virtual, port, port called, calls. Tells the truth as node.ts does. */
public class Services {
  static final ConcurrentHashMap<Integer, Integer> ordinals = new ConcurrentHashMap<>();
  static final ThreadLocal<Socket> connection = new ThreadLocal<>();
  static String pattern;
  static int own, to, calls;

  static void tell(String line) {
    synchronized (System.out) {
      System.out.print(line);
      System.out.flush();
    }
  }

  /** Reads a message and says whether there was one. */
  static boolean read(InputStream in) throws IOException {
    StringBuilder head = new StringBuilder();
    for (int c = in.read(); ; c = in.read()) {
      if (c < 0) return false;
      head.append((char) c);
      if (c == '\n' && head.toString().endsWith("\r\n\r\n")) break;
    }
    for (String line : head.toString().split("\r\n"))
      if (line.toLowerCase().startsWith("content-length:")) in.readNBytes(Integer.parseInt(line.substring(15).trim()));
    return true;
  }

  static void call(String cause) throws IOException {
    Socket socket = connection.get();
    if (socket == null) connection.set(socket = new Socket(InetAddress.getLoopbackAddress(), to));
    int port = socket.getLocalPort();
    tell("call " + port + " " + to + " " + ordinals.merge(port, 1, Integer::sum) + " for " + cause + "\n");
    socket.getOutputStream().write("GET /item HTTP/1.1\r\nHost: backend\r\n\r\n".getBytes());
    read(new BufferedInputStream(socket.getInputStream()));
  }

  /** Reads each request, and leaves the calls and the answer to a worker. */
  static void read(Socket socket, ExecutorService workers) {
    try (socket) {
      InputStream in = new BufferedInputStream(socket.getInputStream());
      for (int count = 1; read(in); count++) {
        String cause = socket.getPort() + " " + own + " " + count;
        workers.execute(() -> {
          try {
            for (int number = 0; number < calls; number++) call(cause);
            socket.getOutputStream().write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".getBytes());
          } catch (IOException error) {
            tell("failed " + error + "\n");
          }
        });
      }
    } catch (IOException error) {
      tell("failed " + error + "\n");
    }
  }

  static void serve(Socket socket, ExecutorService pool) {
    try (socket) {
      InputStream in = new BufferedInputStream(socket.getInputStream());
      for (int count = 1; read(in); count++) {
        String cause = socket.getPort() + " " + own + " " + count;
        for (int number = 0; number < calls; number++) {
          if (pool == null) call(cause);
          else pool.submit(() -> { call(cause); return null; }).get();
        }
        socket.getOutputStream().write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".getBytes());
      }
      Socket used = connection.get();
      if (used != null) used.close();
    } catch (Exception error) {
      tell("failed " + error + "\n");
    }
  }

  public static void main(String[] args) throws Exception {
    pattern = args[0];
    own = Integer.parseInt(args[1]);
    to = Integer.parseInt(args[2]);
    calls = Integer.parseInt(args[3]);
    ExecutorService pool = pattern.equals("executor") ? Executors.newFixedThreadPool(16) : null;
    ExecutorService workers = pattern.equals("handover") ? Executors.newFixedThreadPool(8) : null;
    // By reflection, since older JDKs have no virtual threads.
    Executor threads = pattern.equals("virtual")
        ? (Executor) Executors.class.getMethod("newVirtualThreadPerTaskExecutor").invoke(null)
        : Executors.newCachedThreadPool();
    try (ServerSocket listener = new ServerSocket(own, 256, InetAddress.getLoopbackAddress())) {
      tell("ready\n");
      for (;;) {
        Socket socket = listener.accept();
        socket.setTcpNoDelay(true);
        threads.execute(() -> {
          if (workers == null) serve(socket, pool);
          else read(socket, workers);
        });
      }
    }
  }
}
