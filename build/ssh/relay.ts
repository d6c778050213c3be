// Carries what a RUN asks of an SSH agent to one of the host. A RUN may be a stranger's: it may
// list the keys and sign with them, and nothing else reaches the agent.
import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { within } from '../../deadline/index.js';
import { unlessAborted } from '../solve/unless-aborted.js';
import { answerOf, FAILURE, framed, MessageReader } from './messages.js';

/** Milliseconds for an answer: a person may have to confirm it, or to touch a key. */
const ANSWER_DEADLINE = 120_000;

const REFUSED = framed(Buffer.of(FAILURE));

/**
 * Answers the requests of a client, one after the other, until it ends. A client that sends what is
 * no message is closed.
 * @param agent path of the agent's socket
 */
export async function relay(client: Duplex, agent: string): Promise<void> {
  const gone = new AbortController();
  client.once('close', () => gone.abort());
  using upstream = new Agent(agent, gone.signal);
  const reader = new MessageReader();
  try {
    // A client that has sent its last request still reads.
    for await (const piece of client.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      for (const request of reader.push(piece)) {
        const type = answerOf(request);
        const answer = type === undefined ? undefined : await upstream.ask(request, type);
        // A client that reads no answer is waited for until it goes.
        await unlessAborted(written(client, answer === undefined ? REFUSED : framed(answer)), gone.signal);
      }
    }
    client.end();
  } catch {
    // Nobody else is to be told.
    client.destroy();
  }
}

function written(client: Duplex, bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    client.write(bytes, (error) => (error ? reject(error) : resolve()));
  });
}

/** A connection to the agent, opened when it is needed. */
class Agent implements Disposable {
  readonly #path: string;
  readonly #signal: AbortSignal;
  #open: { socket: Socket; answers: AsyncGenerator<Buffer> } | undefined;

  constructor(path: string, signal: AbortSignal) {
    this.#path = path;
    this.#signal = signal;
  }

  /** The answer, if it is of this type. Undefined if the agent gives none or refuses. */
  async ask(request: Buffer, type: number): Promise<Buffer | undefined> {
    try {
      this.#open ??= open(this.#path);
      const { socket, answers } = this.#open;
      socket.write(framed(request));
      const { value } = await unlessAborted(answers.next(), within(ANSWER_DEADLINE, this.#signal));
      if (value?.[0] === type) return value;
      if (value?.[0] !== FAILURE) this[Symbol.dispose]();
    } catch {
      // There is no agent, it broke off, or it was too slow. The client is told that this failed.
      this[Symbol.dispose]();
    }
    return undefined;
  }

  [Symbol.dispose](): void {
    this.#open?.socket.destroy();
    this.#open = undefined;
  }
}

function open(path: string): { socket: Socket; answers: AsyncGenerator<Buffer> } {
  const socket = connect(path);
  socket.on('error', () => {});
  return { socket, answers: answersOf(socket) };
}

async function* answersOf(socket: Socket): AsyncGenerator<Buffer> {
  const reader = new MessageReader();
  for await (const piece of socket as AsyncIterable<Buffer>) yield* reader.push(piece);
}
