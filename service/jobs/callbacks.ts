// Callbacks of jobs: what has become of a job is sent to the URL that it names, at least once. The
// database says which are due, so a server that starts goes on where another was killed. The URL is a
// tenant's: it is asked from the host, so it leads to the public Internet alone.
import { createHmac } from 'node:crypto';
import * as http from 'node:http';
import * as https from 'node:https';
import { isIP } from 'node:net';
import { AddressGuard, type GuardOptions } from '../../addresses/address-guard.js';
import { within } from '../../deadline/index.js';
import { messageOf } from '../../errors/index.js';
import { describeJob, type JobRecord } from '../job.js';
import type { JobStore } from '../store/job-store.js';
import type { TenantStore } from '../store/tenant-store.js';

/** Milliseconds between looks for what is due. */
const TICK = 1000;
/** Milliseconds of a request with its answer's first line. */
const TIMEOUT = 10_000;
/** Requests under way: of all, and of one tenant. */
const MAX_SENDING = 64;
const MAX_OF_TENANT = 4;

export interface CallbackOptions extends GuardOptions {
  /** Milliseconds until the second try. Each further one comes after twice the time. Default: 5000 */
  pause?: number;
}

export class Callbacks {
  readonly #jobs: JobStore;
  readonly #tenants: TenantStore;
  readonly #onFault: (message: string) => void;
  readonly #guard: AddressGuard;
  readonly #pause: number;
  readonly #closed = new AbortController();
  /** The tenants of jobs that are being told of, by ID. */
  readonly #sending = new Map<string, string>();
  #timer: NodeJS.Timeout | undefined;

  constructor(
    jobs: JobStore,
    tenants: TenantStore,
    onFault: (message: string) => void,
    { pause = 5000, ...guard }: CallbackOptions = {},
  ) {
    this.#jobs = jobs;
    this.#tenants = tenants;
    this.#onFault = onFault;
    this.#guard = new AddressGuard(guard);
    this.#pause = pause;
  }

  start(): void {
    this.#timer = setInterval(() => this.#tick(), TICK);
    this.#tick();
  }

  /** Ends requests under way. The next server sends them again. */
  close(): void {
    this.#closed.abort();
    clearInterval(this.#timer);
  }

  #tick(): void {
    try {
      for (const job of this.#jobs.callbacksDue(2 * MAX_OF_TENANT)) {
        const ofTenant = [...this.#sending.values()].filter((tenant) => tenant === job.tenant).length;
        if (this.#sending.has(job.id) || ofTenant >= MAX_OF_TENANT) continue;
        if (this.#sending.size >= MAX_SENDING) break;
        this.#sending.set(job.id, job.tenant);
        this.#send(job).then((isTaken) => {
          this.#sending.delete(job.id);
          // Its place is for the next one. What has failed waits.
          if (isTaken) this.#tick();
        });
      }
    } catch (error) {
      this.#onFault(`callbacks: ${messageOf(error)}`);
    }
  }

  /** Resolves to whether it was taken. Never rejects. */
  async #send({ id, tenant }: Pick<JobRecord, 'id' | 'tenant'>): Promise<boolean> {
    let isTaken = false;
    try {
      const job = this.#jobs.find(tenant, id);
      const status = await this.#post(job, within(TIMEOUT, this.#closed.signal));
      isTaken = status >= 200 && status < 300;
    } catch {
      // Its tenant's server, or none: it is tried again.
    }
    if (this.#closed.signal.aborted) return false;
    try {
      if (isTaken) this.#jobs.callbackTaken(id);
      else this.#jobs.callbackFailed(id, this.#pause);
    } catch (error) {
      this.#onFault(`the callback of ${id}: ${messageOf(error)}`);
      return false;
    }
    return isTaken;
  }

  /** Resolves to the status of the answer, whose rest is not read. Redirects are answers. */
  async #post(job: JobRecord, signal: AbortSignal): Promise<number> {
    const url = new URL(job.spec.callback ?? '');
    const body = JSON.stringify(describeJob(job));
    const host = url.hostname.replace(/^\[|\]$/g, '');
    // The address that was looked at is the one that is connected to.
    const address = await this.#guard.resolve(host);
    signal.throwIfAborted();
    const { request } = url.protocol === 'https:' ? https : http;
    return await new Promise((resolve, reject) => {
      const outgoing = request({
        ...{
          host: address,
          port: url.port,
          path: `${url.pathname}${url.search}`,
          method: 'POST',
          agent: false,
          signal,
        },
        servername: isIP(host) === 0 ? host : '',
        headers: { Host: url.host, ...signed(job.id, body, this.#tenants.callbackSecret(job.tenant)) },
      });
      outgoing.once('response', (answer) => {
        answer.destroy();
        resolve(answer.statusCode ?? 0);
      });
      outgoing.on('error', reject);
      // An answer that changes the protocol is none: the connection ends without an error.
      outgoing.once('close', () => reject(new Error('there was no answer')));
      outgoing.end(body);
    });
  }
}

/** Headers as https://www.standardwebhooks.com has them. The ID is that of the job: it is told of once. */
function signed(id: string, body: string, secret: string): Record<string, string> {
  const time = String(Math.floor(Date.now() / 1000));
  const key = Buffer.from(secret.slice(SECRET_PREFIX.length), 'base64');
  const signature = createHmac('sha256', key).update(`${id}.${time}.${body}`).digest('base64');
  return {
    ...{ 'Content-Type': 'application/json', 'Content-Length': String(Buffer.byteLength(body)), 'User-Agent': 'tsvm' },
    ...{ 'webhook-id': id, 'webhook-timestamp': time, 'webhook-signature': `v1,${signature}` },
  };
}

const SECRET_PREFIX = 'whsec_';
