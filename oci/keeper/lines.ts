// Lines of a socket.
import type { Socket } from 'node:net';

/** Characters of the longest line: the process of an `exec`, of which the agent takes 4 MiB. */
const MAX_LINE = 4 * 2 ** 20;

/** Calls `onLine` with each line. A peer that sends a longer one is disconnected. */
export function readLines(socket: Socket, onLine: (line: string) => void): void {
  let rest = '';
  socket.setEncoding('utf8');
  socket.on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > MAX_LINE) socket.destroy();
    for (const line of lines) onLine(line);
  });
}
