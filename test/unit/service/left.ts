// A service with a sandbox whose supervisor a test plays.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { bootId, CREATED } from '../../../sandbox/home/container-record.js';
import { Home } from '../../../sandbox/home/home.js';
import { controlSocket } from '../../../sandbox/home/socket-folder.js';
import type { ContainerSpec } from '../../../sandbox/spec/container-spec.js';
import type { ControlReply, SnapshotFiles } from '../../../sandbox/supervision/control-protocol.js';
import { ControlServer } from '../../../sandbox/supervision/control-server.js';
import { type SandboxRecord, specSchema } from '../../../service/records.js';
import { openDatabase } from '../../../service/store/database.js';
import { SandboxStore } from '../../../service/store/sandbox-store.js';
import { TenantStore } from '../../../service/store/tenant-store.js';
import { HOST, OwnService, send } from '../../fixtures/service.js';
import { makeContainer } from '../sandbox/home/containers.js';

export const ID = 'sb-00000000000000aa';
export const SUSPENDED: ControlReply = { type: 'failed', code: 'suspended', message: 'the container was suspended' };

/** A service with one sandbox, which an earlier server has left, and the supervisor of that. */
export class Left implements AsyncDisposable {
  readonly service = new OwnService();
  readonly key = this.service.tenant('acme');
  readonly #sockets = mkdtempSync('/tmp/tsvm-test-');
  /** What the supervisor does with an order to save the machine. */
  suspend = async () => this.save();
  /** What it does with an order to copy the machine. */
  copy = async (files: SnapshotFiles) => writeMachine(files);
  /** Path of the container's folder. */
  path = '';
  #url = '';
  #end: (() => void) | undefined;
  #supervisor: ControlServer | undefined;
  #write: ((status: 'running' | 'suspended') => void) | undefined;
  #saved = '';

  /**
   * @param status of the record
   * @param machine of the container
   * @param own of the container
   * @param image digest of its image
   */
  async make(
    status: SandboxRecord['status'],
    machine: 'running' | 'suspended',
    spec: object = {},
    own: Partial<ContainerSpec> = {},
    image?: string,
  ): Promise<void> {
    const database = openDatabase(this.service.folder);
    const [tenant] = new TenantStore(database).list();
    const store = new SandboxStore(database);
    const { record } = store.add(tenant!, HOST, { id: ID, spec: specSchema.parse({ image: 'debian:12', ...spec }) });
    store.run(ID);
    if (status !== 'running') store.pausing(record, HOST, true);
    if (status === 'paused' || status === 'resuming') store.pause(ID, 'disk');
    if (status === 'resuming') store.resuming(record, HOST);
    database.close();
    const folder = await makeContainer(this.home, ID, own, image);
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
      snapshot: (files: SnapshotFiles) => this.copy(files),
      stop: () => {
        rmSync(this.#saved, { recursive: true, force: true });
        this.leave({ type: 'exited', code: 137 });
      },
      // Nothing else is asked for.
    } as unknown as Parameters<typeof ControlServer.listen>[1]);
  }

  get home(): Home {
    return new Home(join(this.service.folder, 'tenants/acme'));
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

  get url(): string {
    return this.#url;
  }

  async start(): Promise<void> {
    this.#url = await this.service.start();
  }

  /** Of the sandbox. */
  ask(method = 'GET', path = '', body?: object) {
    return this.call(this.key, method, `sandboxes/${ID}${path}`, body);
  }

  call(key: string, method: string, path: string, body?: object, headers: object = {}) {
    return send(`${this.#url}/v1/${path}`, { method, key, headers, ...(body && { body }) });
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

/** As much of a saved machine as its snapshot looks at. */
function writeMachine({ machine }: SnapshotFiles): void {
  mkdirSync(machine);
  writeFileSync(join(machine, 'manifest.json'), 'manifest');
}
