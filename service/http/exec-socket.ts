// A command whose streams are the messages of a WebSocket. Whoever ends first ends the other: the
// command's exit closes the socket, and the command is killed if its caller goes away.
import type { Readable } from 'node:stream';
import { createWebSocketStream, type WebSocket } from 'ws';
import type { ServiceError } from '../errors.js';
import type { Tenant } from '../records.js';
import type { Commands, RunningCommand } from '../sandboxes/commands.js';
import type { ReaderTimes } from './event-stream.js';
import { execMessage, parseExec, parseExecMessage } from './exec-channels.js';
import { problemBody } from './problem.js';
import { Link } from './socket-link.js';

/** Milliseconds until the first message. */
const FIRST_MESSAGE = 10_000;
/** Codes of RFC 6455, 7.4.1. */
const DONE = 1000;
const REFUSED = 1008;

export interface ExecCall extends ReaderTimes {
  commands: Commands;
  tenant: Tenant;
  /** The sandbox's ID. */
  id: string;
  /** What a caller is told of an error. */
  onFault: (error: unknown) => ServiceError;
}

/** Serves the socket to its end. Never rejects. */
export async function execOverSocket(
  { commands, tenant, id, onFault, ...times }: ExecCall,
  socket: WebSocket,
): Promise<void> {
  const gone = new AbortController();
  socket.once('close', () => gone.abort());
  using link = new Link(socket, times);
  let running: RunningCommand | undefined;
  let isFed = false;
  const messages: Readable = createWebSocketStream(socket, { readableObjectMode: true, readableHighWaterMark: 1 });
  messages.on('error', () => {});
  const frames: AsyncIterableIterator<string | Buffer> = messages.iterator({ destroyOnReturn: false });
  try {
    const first = await firstOf(frames, socket);
    if (first === undefined) return;
    const { terminal, ...spec } = parseExec(first);
    const { command, events } = await commands.start(tenant, id, { ...spec, terminal }, gone.signal);
    running = command;
    const leave = () => {
      events.destroy();
      command.kill();
    };
    if (gone.signal.aborted) return leave();
    gone.signal.addEventListener('abort', leave, { once: true });
    isFed = true;
    feed(frames, command)
      .catch((error: unknown) => events.destroy(error instanceof Error ? error : undefined))
      .finally(() => messages.resume());
    for await (const event of events) {
      if (event.name === 'end') {
        gone.signal.removeEventListener('abort', leave);
        const { exitCode, timedOut } = event;
        await link.send(execMessage('status', JSON.stringify({ exitCode, timedOut })));
        // What the client gets wrong from now on is no second status.
        break;
      }
      await link.send(execMessage(event.name, event.data));
    }
    socket.close(DONE);
  } catch (error) {
    running?.kill();
    if (gone.signal.aborted) return;
    const told = onFault(error);
    await link.send(execMessage('status', JSON.stringify(problemBody(told))));
    socket.close(REFUSED, told.code);
  } finally {
    // The client's part of the closing comes behind what it has sent.
    if (!isFed) {
      await frames.return?.();
      messages.resume();
    }
  }
}

/** The first message. Undefined: the socket was closed before. */
async function firstOf(
  frames: AsyncIterableIterator<string | Buffer>,
  socket: WebSocket,
): Promise<string | Buffer | undefined> {
  const late = setTimeout(() => socket.close(REFUSED, 'no command came'), FIRST_MESSAGE);
  try {
    const { value, done } = await frames.next();
    return done ? undefined : value;
  } finally {
    clearTimeout(late);
  }
}

/** Does what the client says. A message is read when the one before is done. @throws ServiceError */
async function feed(frames: AsyncIterableIterator<string | Buffer>, command: RunningCommand): Promise<void> {
  for await (const frame of frames) {
    const message = parseExecMessage(frame);
    if (message.name === 'stdin') await command.write(message.data);
    else if (message.name === 'close') command.closeInput();
    else if (message.name === 'resize') command.resize(message.size);
    else command.signal(message.signal);
  }
}
