// A client of a service: requests with a key, and errors as the service tells them.
import { Option } from 'commander';
import { hasCode, messageOf } from '../../../errors/index.js';
import { UsageError } from '../../output/errors.js';

/** Where a service is. The key is no option: other users of the host see the words of a command. */
export const SERVER = () =>
  new Option('--server <URL>', 'the service').default('http://127.0.0.1:7070').env('TSVM_SERVER');
const KEY = 'TSVM_KEY';

/** A request failed. The message is for the user. */
export class ClientError extends Error {
  override readonly name = 'ServiceError';
}

/** The service refused a request. */
export class RefusedError extends ClientError {
  readonly status: number;

  constructor(message: string, status: number) {
    super(message);
    this.status = status;
  }
}

export interface Request {
  method?: string;
  /** Sent as JSON. */
  body?: object;
  /** Sent as it is. */
  content?: AsyncIterable<Uint8Array>;
  headers?: Record<string, string>;
}

export class ServiceClient {
  readonly #server: string;
  readonly #key: string;

  /** @throws UsageError */
  constructor({ server }: { server: string }) {
    if (!URL.canParse(server) || !/^https?:/.test(server)) {
      throw new UsageError(`invalid argument '${server}' for --server: expected a URL such as http://127.0.0.1:7070`);
    }
    const key = process.env[KEY];
    if (key === undefined || key === '') throw new UsageError(`${KEY} in the environment has no API key`);
    this.#server = server.replace(/\/+$/, '');
    this.#key = key;
  }

  /** The JSON of an answer. @throws ClientError */
  async call(path: string, request: Request = {}): Promise<unknown> {
    return (await this.open(path, request)).json();
  }

  /** @throws ClientError */
  async open(path: string, { method = 'GET', body, content, headers = {} }: Request = {}): Promise<Response> {
    let answer: Response;
    try {
      answer = await fetch(`${this.#server}${path}`, {
        ...{ method, redirect: 'error' },
        headers: {
          ...{ Authorization: `Bearer ${this.#key}`, ...headers },
          ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
        },
        body: body === undefined ? (content ?? null) : JSON.stringify(body),
        ...(content === undefined ? {} : { duplex: 'half' }),
      });
    } catch (error) {
      const cause = error instanceof Error ? error.cause : undefined;
      // A file of the user that cannot be read.
      if (hasCode(error, 'no-such-file', 'tool')) throw error;
      if (hasCode(cause, 'no-such-file', 'tool')) throw cause;
      const why = hasCode(cause, 'ECONNREFUSED') ? 'nothing listens there' : messageOf(cause ?? error);
      throw new ClientError(`cannot reach ${this.#server}: ${why}`);
    }
    if (answer.ok) return answer;
    const problem: unknown = await answer.json().catch(() => undefined);
    const { detail } = (problem ?? {}) as { detail?: unknown };
    const message = typeof detail === 'string' ? detail : `the service answered with ${answer.status}`;
    throw new RefusedError(message, answer.status);
  }
}
