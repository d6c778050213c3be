// Pauses and resumes of sandboxes whose supervisors a test plays: what servers that were killed
// have ordered comes after them, and what stands in the way of a pause goes by.
import { mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { SandboxError } from '../../../sandbox/errors.js';
import { bootId, CREATED } from '../../../sandbox/home/container-record.js';
import { Home } from '../../../sandbox/home/home.js';
import { controlSocket } from '../../../sandbox/home/socket-folder.js';
import type { ControlReply } from '../../../sandbox/supervision/control-protocol.js';
import { ControlServer } from '../../../sandbox/supervision/control-server.js';
import { type SandboxRecord, specSchema } from '../../../service/records.js';
import { openDatabase } from '../../../service/store/database.js';
import { SandboxStore } from '../../../service/store/sandbox-store.js';
import { TenantStore } from '../../../service/store/tenant-store.js';
import { HOST, OwnService, send } from '../../fixtures/service.js';
import { makeContainer } from '../sandbox/home/containers.js';

const ID = 'sb-00000000000000aa';
const SUSPENDED: ControlReply = { type: 'failed', code: 'suspended', message: 'the container was suspended' };

/** A service with one sandbox, which an earlier server has left, and the supervisor of that. */
class Left implements AsyncDisposable {
  readonly service = new OwnService();
  readonly key = this.service.tenant('acme');
  readonly #sockets = mkdtempSync('/tmp/tsvm-test-');
  /** What the supervisor does with an order to save the machine. */
  suspend = async () => this.save();
  /** Path of the container's folder. */
  path = '';
  #url = '';
  #end: (() => void) | undefined;
  #supervisor: ControlServer | undefined;
  #write: ((status: 'running' | 'suspended') => void) | undefined;
  #saved = '';

  /** @param status of the record. @param machine of the container */
  async make(status: SandboxRecord['status'], machine: 'running' | 'suspended', spec: object = {}): Promise<void> {
    const database = openDatabase(this.service.folder);
    const [tenant] = new TenantStore(database).list();
    const store = new SandboxStore(database);
    const { record } = store.add(tenant!, HOST, { id: ID, spec: specSchema.parse({ image: 'debian:12', ...spec }) });
    store.run(ID);
    if (status !== 'running') store.pausing(record, HOST, true);
    if (status === 'paused' || status === 'resuming') store.pause(ID, 'disk');
    if (status === 'resuming') store.resuming(record, HOST);
    database.close();
    const folder = await makeContainer(new Home(join(this.service.folder, 'tenants/acme')), ID);
    const lock = await folder.lock();
    this.#saved = folder.suspended;
    this.path = folder.path;
    this.#write = (now) => {
      if (now === 'suspended') mkdirSync(folder.suspended, { recursive: true });
      else rmSync(folder.suspended, { recursive: true, force: true });
      const alive = { supervisorPid: process.pid, bootId: bootId(), sockets: this.#sockets };
      folder.writeState({ ...CREATED, status: now, accelerator: 'kvm', ...alive });
    };
    this.#write(machine);
    this.#end = () => lock?.[Symbol.dispose]();
    this.#supervisor = await ControlServer.listen(controlSocket(this.#sockets), {
      suspend: () => this.suspend(),
      stop: () => {
        rmSync(this.#saved, { recursive: true, force: true });
        this.leave({ type: 'exited', code: 137 });
      },
      // Nothing else is asked for.
    } as unknown as Parameters<typeof ControlServer.listen>[1]);
  }

  /** Its machine is on the disk. */
  save(): void {
    this.#write?.('suspended');
    setImmediate(() => this.leave(SUSPENDED));
  }

  /** Its machine runs again. */
  goOn(): void {
    this.#write?.('running');
  }

  leave(reply: ControlReply): void {
    this.#end?.();
    this.#supervisor?.end(reply);
  }

  async start(): Promise<void> {
    this.#url = await this.service.start();
  }

  ask(method = 'GET', path = '', body?: object) {
    return send(`${this.#url}/v1/sandboxes/${ID}${path}`, { method, key: this.key, ...(body && { body }) });
  }

  async status(): Promise<string> {
    return ((await this.ask()).body as { status: string }).status;
  }

  async until(status: string): Promise<void> {
    while ((await this.status()) !== status) await sleep(20);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.service[Symbol.asyncDispose]();
    this.leave({ type: 'exited', code: 0 });
    rmSync(this.#sockets, { recursive: true });
  }
}

test('a machine that is saved after the death of the server that wanted it is paused, not lost', async () => {
  await using left = new Left();
  await left.make('pausing', 'running');
  await left.start();
  expect(await left.status()).toBe('running');
  left.save();
  await left.until('paused');
  expect((await left.ask()).body).toMatchObject({ keptIn: 'disk' });
});

test('so is one whose lifetime has ended meanwhile', async () => {
  await using left = new Left();
  left.suspend = async () => {
    setTimeout(() => left.save(), 300);
    left.suspend = async () => {
      throw new SandboxError('conflict', 'the container is being suspended');
    };
    throw new SandboxError('conflict', 'the container is being suspended');
  };
  await left.make('pausing', 'running', { lifetime: 1000, atExpiry: 'pause' });
  await sleep(1000);
  await left.start();
  await left.until('paused');
  expect((await left.ask()).body).toMatchObject({ keptIn: 'disk' });
});

test('a machine that goes on after the death of the server that wanted it is told as one that runs', async () => {
  await using left = new Left();
  await left.make('resuming', 'suspended');
  await left.start();
  expect(await left.status()).toBe('resuming');
  left.goOn();
  await left.until('running');
  // It is watched.
  left.save();
  await left.until('paused');
});

test('one that is paused stays so while its home cannot be read', async () => {
  await using left = new Left();
  await left.make('paused', 'suspended');
  left.leave(SUSPENDED);
  const config = `${left.path}/config.json`;
  renameSync(config, `${config}.aside`);
  mkdirSync(config);
  await left.start();
  expect(await left.status()).toBe('paused');
  expect(left.service.faults.join()).toContain(`cannot find ${ID} of acme`);
  // Else it would be tried again, until it succeeds.
  expect(left.service.faults.join()).not.toContain('cannot end');
  rmSync(config, { recursive: true });
  renameSync(`${config}.aside`, config);
  await left.service.stop();
  await left.start();
  expect((await left.ask()).body).toMatchObject({ status: 'paused', keptIn: 'disk' });
});

test('a process that is just being started delays a pause', async () => {
  await using left = new Left();
  await left.make('running', 'running');
  await left.start();
  let tries = 0;
  left.suspend = async () => {
    if (++tries < 3) throw new SandboxError('agent', 'a process is being started, or a tool runs');
    left.save();
  };
  expect(await left.ask('POST', '/pause')).toMatchObject({ status: 200, body: { status: 'paused', keptIn: 'disk' } });
});

test('one with placeholders of secrets is not saved: its proxy would not be what its memory knows', async () => {
  await using left = new Left();
  const secrets = [{ name: 'TOKEN', env: 'TOKEN', placeholder: { hosts: ['api.example.com'] } }];
  await left.make('running', 'running', { secrets, network: 'public' });
  await left.start();
  expect(await left.ask('POST', '/pause')).toMatchObject({ status: 400, body: { code: 'bad-request' } });
  expect(await left.status()).toBe('running');
});
