"""A Python service on asyncio. Arguments: sequential|gather|sleep, port, port called, calls. Tells the truth as node.ts does."""
import asyncio
import sys

import served

pattern, own, to, calls = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
client_context = served.client_context() if served.tls else None
server_context = served.server_context() if served.tls else None


async def read_message(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return await reader.readexactly(int(line.split(b":")[1]))
    return b""


async def call(cause):
    reader, writer = await asyncio.open_connection("127.0.0.1", to, ssl=client_context)
    port = writer.get_extra_info("sockname")[1]
    served.tell_call(port, to, cause)
    writer.write(b"GET /item HTTP/1.1\r\nHost: backend\r\n\r\n")
    await read_message(reader)
    writer.close()


async def serve(reader, writer):
    port = writer.get_extra_info("peername")[1]
    try:
        while True:
            await read_message(reader)
            cause = f"{port} {own} {served.count(served.seen, port)}"
            if pattern == "gather":
                await asyncio.gather(*(call(cause) for _ in range(calls)))
            else:
                for number in range(calls):
                    if number > 0 and pattern == "sleep":
                        await asyncio.sleep(0.003)
                    await call(cause)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", own, backlog=256, ssl=server_context)
    served.tell("ready\n")
    await server.serve_forever()


asyncio.run(main())
