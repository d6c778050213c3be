// The sandboxes of all tenants: each is a container in its tenant's home, with a supervisor of its
// own, and outlives the server. The database says what there should be; the homes say what there is.
import { randomBytes } from 'node:crypto';
import { basename } from 'node:path';
import { PassThrough, type Readable } from 'node:stream';
import { messageOf } from '../../errors/index.js';
import { Container, type Home } from '../../sandbox/index.js';
import { ServiceError } from '../errors.js';
import type { End, SandboxRecord, SandboxSpec, Tenant } from '../records.js';
import { checkPlaceholders } from '../secret.js';
import type { Page, SandboxStore } from '../store/sandbox-store.js';
import type { SecretStore } from '../store/secret-store.js';
import { type CommandResult, type CommandSpec, runCommand } from './command.js';
import { findContainer, homeOf, imageName, type MachineOptions, removeContainer } from './container.js';
import type { Places } from './places.js';
import { tell } from './tell.js';

/** Milliseconds of a transfer of files. */
const FILES_TIMEOUT = 600_000;
/** Milliseconds until the end of a sandbox is tried again. */
const AGAIN = 10_000;

/** When the lifetime of a sandbox is over, in milliseconds of the epoch. */
function expiry({ expires, started, created, spec }: SandboxRecord): number {
  return expires === undefined ? Date.parse(started ?? created) + spec.lifetime : Date.parse(expires);
}

export class Sandboxes {
  readonly #store: SandboxStore;
  readonly #options: MachineOptions;
  /** The ends under way, by ID. The first reason counts. */
  readonly #ends = new Map<string, Promise<void>>();
  /** The ends of lifetimes, by ID. */
  readonly #expiries = new Map<string, NodeJS.Timeout>();
  /** The ends that are due whatever the lifetime, by ID: a machine has ended, or an end has failed. */
  readonly #due = new Map<string, NodeJS.Timeout>();
  #isClosed = false;
  readonly #places: Places;
  readonly #secrets: SecretStore;

  constructor(store: SandboxStore, secrets: SecretStore, places: Places, options: MachineOptions) {
    this.#store = store;
    this.#secrets = secrets;
    this.#places = places;
    this.#options = options;
  }

  /**
   * Takes over the records that an earlier server left: those that run are watched again, and what else
   * it was doing is undone. Call it before all else.
   */
  async recover(): Promise<void> {
    await Promise.all(this.#store.alive().map((record) => this.#recover(record)));
  }

  async #recover(record: SandboxRecord): Promise<void> {
    const container = record.status === 'running' ? this.#findRunning(record) : undefined;
    if (container !== undefined) return this.#watch(record, container);
    const error = record.status === 'starting' ? 'the server ended while it started' : 'it ended while no server ran';
    await this.#endOrTryAgain(record, { reason: 'failed', error });
  }

  /** The container, if it runs. One whose home cannot be read does not. */
  #findRunning({ tenant, id }: SandboxRecord): Container | undefined {
    try {
      const container = findContainer(this.#home(tenant), id);
      const status = container?.state.status;
      return status === 'running' || status === 'paused' ? container : undefined;
    } catch (error) {
      this.#options.onFault(`cannot find ${id} of ${tenant}: ${messageOf(error)}`);
      return undefined;
    }
  }

  /**
   * Starts a sandbox. Resolves when it takes commands.
   * @param key a second call with the same one returns what became of the first
   * @throws ServiceError
   */
  async create(tenant: Tenant, spec: SandboxSpec, key?: string): Promise<SandboxRecord> {
    const image = imageName(spec.image);
    checkPlaceholders(spec);
    const id = `sb-${randomBytes(8).toString('hex')}`;
    const { record, isNew } = this.#store.add(tenant, this.#options.host, { id, spec, key });
    if (!isNew) return record;
    try {
      const { upstream } = this.#options;
      const secrets = { ...this.#secrets.join(tenant.name, spec.secrets), ...(upstream && { upstream }) };
      const container = await Container.create(this.#home(tenant.name), {
        ...{ image, name: id, command: [], noCommand: true, pull: 'never' },
        ...{ cpus: spec.cpus, memory: spec.memory, disk: spec.disk, env: spec.env },
        network: spec.network === 'none' ? { mode: 'none' } : {},
        ...{ accel: this.#options.accel, jail: this.#options.jail },
      });
      await container.start({ onFallback: this.#options.onFallback, secrets });
      this.#store.run(id);
      const running = this.#store.find(tenant.name, id);
      this.#watch(running, container);
      return running;
    } catch (error) {
      const told = this.tell(error, 'the sandbox did not start');
      await this.#endOrTryAgain(record, { reason: 'failed', error: told.message });
      throw told;
    }
  }

  /** @throws ServiceError `not-found` */
  find(tenant: Tenant, id: string): SandboxRecord {
    return this.#store.find(tenant.name, id);
  }

  /** Those of the tenant, newest first. */
  list(tenant: Tenant, page: Page): SandboxRecord[] {
    return this.#store.list(tenant.name, page);
  }

  /**
   * Runs a command to its end.
   * @param signal ends it: its caller is gone
   * @throws ServiceError
   */
  async exec(tenant: Tenant, id: string, spec: CommandSpec, signal: AbortSignal): Promise<CommandResult> {
    const container = this.running(tenant, id);
    using _place = this.#places.take(tenant);
    try {
      return await runCommand(container, spec, signal);
    } catch (error) {
      throw this.tell(error, 'the command failed');
    }
  }

  /**
   * Reads `path` and what is below it, as a tar archive whose root has the last name of the path.
   * The stream breaks off with an error if it is not complete.
   * @param signal ends it: its caller is gone
   * @throws ServiceError
   */
  async readFiles(tenant: Tenant, id: string, path: string, signal: AbortSignal): Promise<Readable> {
    const { files } = this.running(tenant, id);
    const place = this.#places.take(tenant);
    const limits = { signal, timeout: FILES_TIMEOUT };
    try {
      await files.stat(path, limits);
    } catch (error) {
      place[Symbol.dispose]();
      throw this.tell(error, 'the files cannot be read');
    }
    const output = new PassThrough();
    files
      .archive(path, basename(path) || '.', output, limits)
      .then(
        () => output.end(),
        (error) => output.destroy(this.tell(error, 'the files cannot be read')),
      )
      .finally(() => place[Symbol.dispose]());
    return output;
  }

  /**
   * Extracts a tar archive into a directory. Files belong to root. What came before an error stays.
   * @throws ServiceError; the error of `archive`
   */
  async writeFiles(tenant: Tenant, id: string, path: string, archive: Readable, signal: AbortSignal): Promise<void> {
    const { files } = this.running(tenant, id);
    using _place = this.#places.take(tenant);
    let failure: Error | undefined;
    archive.on('error', (error) => {
      failure = error;
    });
    try {
      await files.extract(path, archive, { signal, timeout: FILES_TIMEOUT });
    } catch (error) {
      throw failure ?? this.tell(error, 'the files cannot be written');
    }
    // The end of a broken archive is an end to the guest.
    if (failure !== undefined) throw failure;
  }

  /**
   * Ends a sandbox, with everything in it. Does nothing if it has ended.
   * @throws ServiceError `not-found`; `conflict` while it starts
   */
  async stop(tenant: Tenant, id: string): Promise<void> {
    const record = this.#store.find(tenant.name, id);
    if (record.status === 'ended') return;
    if (record.status === 'starting') throw new ServiceError('conflict', 'the sandbox is starting');
    try {
      await this.#end(record, { reason: 'stopped' });
    } catch (error) {
      throw this.tell(error, 'the sandbox did not end');
    }
  }

  /**
   * Gives a sandbox that runs another end: so many milliseconds from now.
   * @param atLeast true: an end that is later already stays
   * @throws ServiceError `not-found`, `not-running`
   */
  setLifetime(tenant: Tenant, id: string, milliseconds: number, { atLeast = false } = {}): SandboxRecord {
    const known = this.#store.find(tenant.name, id);
    const expires = Date.now() + milliseconds;
    if (known.status === 'running' && atLeast && expires <= expiry(known)) return known;
    if (!this.#store.expire(id, new Date(expires).toISOString())) {
      throw new ServiceError('not-running', 'the sandbox is not running');
    }
    const record = this.#store.find(tenant.name, id);
    if (!this.#ends.has(id)) this.#expire(record);
    return record;
  }

  /** The token of a sandbox that runs: it opens that one alone. @throws ServiceError `not-found`, `not-running` */
  token(tenant: Tenant, id: string): string {
    this.#store.find(tenant.name, id);
    const token = this.#store.token(id);
    if (token === undefined) throw new ServiceError('not-running', 'the sandbox is not running');
    return token;
  }

  /** The tenant of the sandbox that a token opens. */
  authenticate(id: string, token: string): string | undefined {
    return this.#store.authenticate(id, token);
  }

  /** The token of the ports of a sandbox that runs. @throws ServiceError `not-found`, `not-running` */
  portsToken(tenant: Tenant, id: string): string {
    this.#store.find(tenant.name, id);
    const token = this.#store.portsToken(id);
    if (token === undefined) throw new ServiceError('not-running', 'the sandbox is not running');
    return token;
  }

  /** The tenant of the sandbox whose ports a token opens. */
  authenticatePorts(id: string, token: string): string | undefined {
    return this.#store.authenticatePorts(id, token);
  }

  /** Stops watching. The sandboxes run on. */
  close(): void {
    this.#isClosed = true;
    for (const timers of [this.#expiries, this.#due]) {
      for (const timer of timers.values()) clearTimeout(timer);
      timers.clear();
    }
  }

  #home(tenant: string): Home {
    return homeOf(this.#options.folder, tenant);
  }

  /** The container of a sandbox that runs. @throws ServiceError `not-found`, `not-running` */
  running(tenant: Tenant, id: string): Container {
    const { status } = this.#store.find(tenant.name, id);
    const container = status === 'running' ? findContainer(this.#home(tenant.name), id) : undefined;
    if (container === undefined) throw new ServiceError('not-running', 'the sandbox is not running');
    return container;
  }

  /** Ends the sandbox with its lifetime, and notes it if its machine ends by itself. */
  #watch(record: SandboxRecord, container: Container): void {
    this.#expire(record);
    const ended = () => this.#endAfter(this.#due, 0, record, { reason: 'failed', error: 'its machine ended' });
    container.wait().then(ended, ended);
  }

  /** Ends the sandbox with its lifetime. */
  #expire(record: SandboxRecord): void {
    this.#endAfter(this.#expiries, expiry(record) - Date.now(), record, { reason: 'expired' });
  }

  /**
   * Ends the sandbox after so many milliseconds.
   * @param timers has one for each sandbox
   */
  #endAfter(timers: Map<string, NodeJS.Timeout>, milliseconds: number, record: SandboxRecord, end: End): void {
    clearTimeout(timers.get(record.id));
    if (this.#isClosed) return;
    const act = () => this.#endOrTryAgain(record, end);
    timers.set(record.id, setTimeout(act, Math.max(0, milliseconds)));
  }

  /** Ends the sandbox. If that fails, it holds its share, and its end is tried again later. */
  async #endOrTryAgain(record: SandboxRecord, end: End): Promise<void> {
    try {
      await this.#end(record, end);
    } catch (error) {
      this.#options.onFault(`cannot end ${record.id} of ${record.tenant}: ${messageOf(error)}`);
      this.#endAfter(this.#due, AGAIN, record, end);
    }
  }

  /** Ends a sandbox and removes its container. A second call waits for the first. */
  #end(record: SandboxRecord, end: End): Promise<void> {
    const { id, tenant } = record;
    const known = this.#ends.get(id);
    if (known !== undefined) return known;
    const act = async () => {
      await removeContainer(this.#home(tenant), id);
      this.#store.end(record, end);
      for (const timers of [this.#expiries, this.#due]) {
        clearTimeout(timers.get(id));
        timers.delete(id);
      }
    };
    const ending = act().finally(() => this.#ends.delete(id));
    this.#ends.set(id, ending);
    return ending;
  }

  /** What a tenant is told of an error. @param what what failed */
  tell(error: unknown, what: string): ServiceError {
    return tell(error, what, this.#options.onFault);
  }
}
