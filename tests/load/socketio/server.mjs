// A room server on Socket.IO with connection state recovery, over its adapter in memory: `node server.mjs PORT`.
import { createServer } from 'node:http';
import { Server } from 'socket.io';

// The clients of a measurement all connect at once.
const http = createServer();
const io = new Server(http, {
  transports: ['websocket'],
  serveClient: false,
  connectionStateRecovery: { maxDisconnectionDuration: 2 * 60 * 1000, skipMiddlewares: true },
});
io.on('connection', (socket) => {
  const { room } = socket.handshake.query;
  // A session that is recovered is in its room already.
  if (room && !socket.recovered) socket.join(room);
  socket.on('say', (to, text, answer) => {
    io.to(to).emit('said', text);
    answer();
  });
});
http.listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 4096 });
