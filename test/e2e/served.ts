// `tsvm serve` in a data folder of its own, with real machines, and what tenants do with it.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { Container } from '../../sandbox/containers/container.js';
import { Home } from '../../sandbox/home/home.js';
import { send } from '../fixtures/service.js';
import { DEBIAN, type Machine, type RunningCommand, readUntil, run, TSVM } from './machine.js';
import { linkStores, list } from './own-home.js';

/** What the tests read of an answer. */
export interface Body {
  id: string;
  status: string;
  reason?: string;
  error?: string;
  stdout: string;
  sandboxes: Body[];
  jobs: Body[];
  attempts: number;
  exitCode?: number;
  leftError?: string;
}

/** A server, and what tenants do with it. */
export class Served implements AsyncDisposable {
  readonly data: string;
  readonly #machine: Machine;
  #server: RunningCommand | undefined;
  #url = '';

  /** @param data the data folder. Default: a new one */
  constructor(machine: Machine, data = mkdtempSync('/var/tmp/tsvm-serve-')) {
    this.data = data;
    this.#machine = machine;
  }

  /**
   * Adds a tenant that has the tests' images. Returns its key.
   * @param more further words of the command line
   * @param images the home whose images it has. Default: the default home
   */
  async tenant(name: string, more: string[] = [], images?: string): Promise<string> {
    const words = ['--data', this.data, '--cpus', '8', ...more, name];
    const { stdout } = await run(this.#machine, [TSVM, 'tenant', 'add', ...words]);
    linkStores(this.home(name).path, images);
    return stdout.trim();
  }

  home(tenant: string): Home {
    return new Home(`${this.data}/tenants/${tenant}`);
  }

  /** Ends the keys of a tenant. Returns another one. */
  async revoke(name: string): Promise<string> {
    const { stdout } = await run(this.#machine, [TSVM, 'tenant', 'key', '--data', this.data, '--revoke', name]);
    return stdout.trim();
  }

  /** Another key of a tenant. */
  async key(name: string, scope: string): Promise<string> {
    const { stdout } = await run(this.#machine, [TSVM, 'tenant', 'key', '--data', this.data, '--scope', scope, name]);
    return stdout.trim();
  }

  /** @param more further words of the command line */
  async start(env: Record<string, string> = {}, port = 0, more: string[] = []): Promise<void> {
    const words = ['--data', this.data, '--listen', `127.0.0.1:${port}`, '--cpus', '64', ...more];
    this.#server = this.#machine.spawn([TSVM, 'serve', ...words], { env: { TSVM_HOME: `${this.data}/none`, ...env } });
    this.#url = (await readUntil(this.#server.stdout, '\n')).replace('listening on ', '').trim();
  }

  get url(): string {
    return this.#url;
  }

  /**
   * Copies the data folder while the server and all supervisors stand still: what is there if the power
   * fails now. Returns the copy's path, and when it was made.
   */
  copy(): { path: string; time: string } {
    const path = mkdtempSync('/var/tmp/tsvm-serve-');
    // The server first: it starts supervisors.
    this.#server?.kill('SIGSTOP');
    const pids: number[] = [];
    for (const tenant of list(`${this.data}/tenants`)) {
      for (const { state } of Container.list(this.home(tenant))) {
        if (state.supervisorPid === undefined) continue;
        try {
          process.kill(state.supervisorPid, 'SIGSTOP');
        } catch {
          // It has ended.
          continue;
        }
        pids.push(state.supervisorPid);
      }
    }
    const time = new Date().toISOString();
    execFileSync('cp', ['-a', '--sparse=always', `${this.data}/.`, path]);
    for (const pid of pids) process.kill(pid, 'SIGCONT');
    this.#server?.kill('SIGCONT');
    return { path, time };
  }

  get stderr(): Readable {
    return this.#server!.stderr;
  }

  /** Resolves to the exit code. */
  async end(signal: NodeJS.Signals): Promise<number> {
    this.#server?.kill(signal);
    return (await this.#server?.exit) ?? 0;
  }

  async call(key: string, method: string, path: string, body?: unknown, more: object = {}, of = 'sandboxes') {
    // The server closes a connection that is idle, perhaps as a test that was held up uses it
    // again.
    const headers = { Connection: 'close', ...more };
    const answer = await send(`${this.#url}/v1/${of}${path}`, { method, key, body, headers });
    return { ...answer, body: (answer.body ?? {}) as Body };
  }

  /** Queues a job. */
  async submit(key: string, command: string[], more: object = {}, headers: object = {}): Promise<string> {
    const spec = { image: DEBIAN, memory: 128 * 2 ** 20, command, ...more };
    const { status, body } = await this.call(key, 'POST', '', spec, headers, 'jobs');
    expect({ status, body }).toMatchObject({ status: 201 });
    return body.id;
  }

  async job(key: string, id: string): Promise<Body> {
    return (await this.call(key, 'GET', `/${id}`, undefined, {}, 'jobs')).body;
  }

  /** The record of a job, once its status is this. */
  async jobThatIs(key: string, id: string, status: string): Promise<Body> {
    for (;;) {
      const job = await this.job(key, id);
      if (job.status === status) return job;
      if (job.status === 'ended') throw new Error(`it has ended: ${JSON.stringify(job)}`);
      await sleep(50);
    }
  }

  async output(key: string, id: string): Promise<{ stream: string; log: string }[]> {
    const headers = { Authorization: `Bearer ${key}`, Connection: 'close' };
    const answer = await fetch(`${this.#url}/v1/jobs/${id}/output`, { headers });
    const lines = (await answer.text()).split('\n').filter((line) => line !== '');
    return lines.map((line) => JSON.parse(line));
  }

  /** A way to the server, whichever runs, whose connections break off after so many bytes. */
  async brokenWay(bytes: number): Promise<{ url: string; connections: () => number } & Disposable> {
    let connections = 0;
    const way = createServer((client) => {
      connections++;
      const { hostname, port } = new URL(this.#url);
      const server = connect(Number(port), hostname);
      let passed = 0;
      const cut = () => {
        client.destroy();
        server.destroy();
      };
      for (const end of [client, server]) end.on('error', () => {}).on('close', cut);
      client.on('data', (chunk) => server.write(chunk));
      server.on('data', (chunk) => {
        client.write(chunk.subarray(0, bytes - passed));
        passed += chunk.length;
        if (passed >= bytes) client.end();
      });
    }).listen(0, '127.0.0.1');
    await once(way, 'listening');
    const { port } = way.address() as AddressInfo;
    return { url: `http://127.0.0.1:${port}`, connections: () => connections, [Symbol.dispose]: () => way.close() };
  }

  /** Runs `tsvm job` as a tenant. */
  client(key: string, words: string[], input?: string, url = this.#url) {
    const env = { TSVM_KEY: key, TSVM_SERVER: url };
    return run(this.#machine, [TSVM, 'job', ...words], { env, ...(input === undefined ? {} : { stdin: input }) });
  }

  /** With Connection: close, Node.js takes an answer that breaks off for whole. */
  fetch(key: string, path: string, request: RequestInit = {}): Promise<Response> {
    return fetch(`${this.#url}/v1/sandboxes${path}`, { ...request, headers: { Authorization: `Bearer ${key}` } });
  }

  async create(key: string, spec: object = {}): Promise<string> {
    const { status, body } = await this.call(key, 'POST', '', { image: DEBIAN, memory: 128 * 2 ** 20, ...spec });
    expect({ status, body }).toMatchObject({ status: 201, body: { status: 'running' } });
    return body.id;
  }

  exec(key: string, id: string, command: string[], more: object = {}) {
    return this.call(key, 'POST', `/${id}/exec`, { command, ...more });
  }

  /** The record of a sandbox, once it has ended. */
  async ended(key: string, id: string): Promise<Body> {
    for (;;) {
      const { body } = await this.call(key, 'GET', `/${id}`);
      if (body.status === 'ended') return body;
      await sleep(100);
    }
  }

  /** A request whose answer nobody waits for after the signal. */
  async abandon(key: string, path: string, body: object, signal: AbortSignal): Promise<void> {
    const headers = { Authorization: `Bearer ${key}`, Connection: 'close', 'Content-Type': 'application/json' };
    const request = { method: 'POST', headers, body: JSON.stringify(body), signal };
    await fetch(`${this.#url}/v1/sandboxes${path}`, request).then(
      () => {},
      () => {},
    );
  }

  /** What the server counts as held by a tenant. */
  async share(key: string): Promise<{ cpus: number; memory: number; disk: number }> {
    const { status, body } = await this.call(key, 'GET', '', undefined, {}, 'tenant');
    expect(status).toBe(200);
    return (body as Body & { held: { cpus: number; memory: number; disk: number } }).held;
  }

  /** Names of what is in a tenant's home: containers, and what was left of some. */
  left(tenant: string): string[] {
    const { path } = this.home(tenant);
    return [
      ...Container.list(this.home(tenant)).map(({ name }) => name ?? ''),
      ...list(`${path}/containers`).filter((name) => /^[0-9a-f]{64}/.test(name)),
      ...list(`${path}/containers/names`),
    ];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end('SIGKILL');
    for (const tenant of list(`${this.data}/tenants`)) {
      for (const { config } of Container.list(this.home(tenant))) {
        await Container.find(this.home(tenant), config.id).remove({ force: true });
      }
    }
    rmSync(this.data, { recursive: true });
  }
}
