// The API of the server that the page comes from, by a tenant's or the operator's key. The key goes
// into the header of a request, and nowhere else.
import { createParser, type EventSourceMessage } from 'eventsource-parser';

export const STATUSES = ['queued', 'starting', 'running', 'ended'] as const;

/** What the page reads of a job. */
export interface Job {
  id: string;
  image: string;
  command: string[];
  cpus: number;
  memory: number;
  disk: number;
  network: string;
  metadata: Record<string, string>;
  priority: number;
  retries: number;
  status: (typeof STATUSES)[number];
  attempts: number;
  /** Of the operator's view: whose it is, and why it is queued. */
  tenant?: string;
  waits?: 'share' | 'room' | 'turn';
  created: string;
  started?: string;
  ended?: string;
  reason?: string;
  exitCode?: number;
  oomKilled?: boolean;
  error?: string;
}

export interface Tenant {
  name: string;
  /** What the key may do, of its own tenant. */
  scope?: string;
  limits: { sandboxes: number; jobs: number; cpus: number; memory: number; disk: number; rate: string };
  held: { cpus: number; memory: number; disk: number };
  sandboxes: Record<string, number>;
  jobs: Record<string, number>;
}

export interface Usage {
  period: string;
  jobs: number;
  succeeded: number;
  sandboxes: number;
  cpuSeconds: number;
}

export class ApiError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export class Api {
  readonly #key: string;
  /** True: of all tenants, and it only looks. */
  readonly isOperator: boolean;

  constructor(key: string, { isOperator = false } = {}) {
    this.#key = key;
    this.isOperator = isOperator;
  }

  /**
   * @param path below that of the API. @throws ApiError; a TypeError if the server is not reached;
   * the reason of `signal`
   */
  async #open(path: string, request: RequestInit = {}): Promise<Response> {
    const headers = { Authorization: `Bearer ${this.#key}`, ...request.headers };
    const answer = await fetch(`/v1${this.isOperator ? '/operator' : ''}${path}`, {
      cache: 'no-store',
      credentials: 'omit',
      ...request,
      headers,
    });
    if (answer.ok) return answer;
    throw new ApiError(answer.status, await detailOf(answer));
  }

  /** @throws as `#open` */
  async get<T>(path: string, signal?: AbortSignal): Promise<T> {
    return (await (await this.#open(path, { signal: signal ?? null })).json()) as T;
  }

  /** @throws as `#open` */
  async cancel(id: string): Promise<Job> {
    const answer = await this.#open(`/jobs/${encodeURIComponent(id)}/cancel`, { method: 'POST' });
    return (await answer.json()) as Job;
  }

  /**
   * Events of a job's output until the connection ends.
   * @param last the ID of the last event that has arrived
   * @throws as `#open`
   */
  async *events(id: string, last: string | undefined, signal: AbortSignal): AsyncGenerator<EventSourceMessage[]> {
    const headers = { Accept: 'text/event-stream', ...(last === undefined ? {} : { 'Last-Event-ID': last }) };
    const { body } = await this.#open(`/jobs/${encodeURIComponent(id)}/events`, { headers, signal });
    const events: EventSourceMessage[] = [];
    const parser = createParser({ onEvent: (event) => events.push(event) });
    const decoder = new TextDecoder();
    const reader = body?.getReader();
    for (;;) {
      const { done = true, value } = (await reader?.read()) ?? {};
      if (done) return;
      parser.feed(decoder.decode(value, { stream: true }));
      yield events.splice(0);
    }
  }
}

/** What the server says of an error. */
async function detailOf(answer: Response): Promise<string> {
  try {
    const { detail } = (await answer.json()) as { detail?: unknown };
    if (typeof detail === 'string') return detail;
  } catch {
    // A proxy's answer.
  }
  return `the server answered ${answer.status}`;
}
