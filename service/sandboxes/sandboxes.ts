// The sandboxes of all tenants: each is a container in its tenant's home, with a supervisor of its
// own, and outlives the server. The database says what there should be; the homes say what there is.
import { randomBytes } from 'node:crypto';
import { basename } from 'node:path';
import { PassThrough, type Readable } from 'node:stream';
import { hasCode, messageOf } from '../../errors/index.js';
import { Container, type Home, type Secrets } from '../../sandbox/index.js';
import { ServiceError } from '../errors.js';
import type { End, SandboxRecord, SandboxSpec, Tenant } from '../records.js';
import { checkPlaceholders } from '../secret.js';
import type { Page, SandboxStore } from '../store/sandbox-store.js';
import type { SecretStore } from '../store/secret-store.js';
import { type CommandResult, type CommandSpec, runCommand } from './command.js';
import {
  findContainer,
  homeOf,
  imageName,
  type MachineOptions,
  proxied,
  removeContainer,
  resumeContainer,
  suspendContainer,
} from './container.js';
import type { Places } from './places.js';
import { tell } from './tell.js';
import { Uses } from './uses.js';

/** Milliseconds of a transfer of files. */
const FILES_TIMEOUT = 600_000;
/** Milliseconds until the end of a sandbox is tried again. */
const AGAIN = 10_000;

/** When the lifetime of a sandbox is over, in milliseconds of the epoch. */
function expiry({ expires, started, created, spec }: SandboxRecord): number {
  return expires === undefined ? Date.parse(started ?? created) + spec.lifetime : Date.parse(expires);
}

/** A sandbox that runs. It is not idle until this is disposed of. */
export interface Use extends Disposable {
  container: Container;
}

/** When the lifetime is over of one that is resumed now. */
function expiryAfter({ spec }: SandboxRecord, lifetime = spec.lifetime): string {
  return new Date(Date.now() + lifetime).toISOString();
}

/** @throws ServiceError `bad-request` if its machine cannot be paused */
function checkPause({ state: { accelerator } }: Container, { secrets }: SandboxSpec): void {
  if (accelerator === 'uml') {
    throw new ServiceError(
      'bad-request',
      'a sandbox on User-Mode Linux cannot be paused: one on KVM or the emulator can',
    );
  }
  // Its next proxy would have another CA, and know other tokens, than its memory.
  if (accelerator === 'kvm' && secrets.some(({ placeholder }) => placeholder !== undefined)) {
    throw new ServiceError('bad-request', 'a sandbox on KVM cannot be paused if it has placeholders of secrets');
  }
}

function newId(): string {
  return `sb-${randomBytes(8).toString('hex')}`;
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
  /** The last change of each that is paused, resumed or ended, by ID: one follows the other. */
  readonly #turns = new Map<string, Promise<void>>();
  /** The wait for the machine's end that counts, by ID. */
  readonly #watches = new Map<string, symbol>();
  readonly #uses = new Uses((id) => this.#pauseIdle(id));
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
    const { id, status } = record;
    const found = status === 'starting' ? undefined : this.#findAlive(record);
    // What is saved may be there when its home can be read again. Nothing of it is waited for.
    if (found === 'unknown' && status === 'paused') return;
    const container = found === 'unknown' ? undefined : found;
    if (container?.state.status === 'suspended') {
      // A supervisor may be about to continue it. Nobody waits for that.
      if (status === 'resuming') this.#resumeAgain(record, container);
      else this.#store.pause(id, 'disk');
      return;
    }
    if (container?.state.status === 'paused' && status !== 'running') {
      this.#store.pause(id, 'memory');
      return this.#watch(record, container);
    }
    if (container !== undefined) {
      // It ended while it was paused or resumed: a resume has given it its lifetime anew.
      if (status !== 'running') this.#store.resume(id, status === 'pausing' ? undefined : expiryAfter(record));
      const running = this.#store.find(record.tenant, id);
      this.#watch(running, container);
      return this.#expire(running);
    }
    const error = record.status === 'starting' ? 'the server ended while it started' : 'it ended while no server ran';
    await this.#endOrTryAgain(record, { reason: 'failed', error });
  }

  /** Ends a resume that an earlier server has begun. If it fails, the sandbox is paused. */
  #resumeAgain(record: SandboxRecord, container: Container): void {
    const { tenant, id } = record;
    this.#inTurn(id, () => this.#continue(record, container)).catch((error: unknown) =>
      this.#options.onFault(`cannot resume ${id} of ${tenant}, as an earlier server began to: ${messageOf(error)}`),
    );
  }

  /** The container, if it runs or is paused. `unknown`: its home cannot be read. */
  #findAlive({ tenant, id }: SandboxRecord): Container | 'unknown' | undefined {
    try {
      const container = findContainer(this.#home(tenant), id);
      const isAlive = ['running', 'paused', 'suspended'].includes(container?.state.status ?? '');
      return isAlive ? container : undefined;
    } catch (error) {
      this.#options.onFault(`cannot find ${id} of ${tenant}: ${messageOf(error)}`);
      return 'unknown';
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
    const { record, isNew } = this.#store.add(tenant, this.#options.host, { id: newId(), spec, key });
    if (!isNew) return record;
    return await this.#start(record, () =>
      Container.create(this.#home(tenant.name), {
        ...{ image, name: record.id, command: [], noCommand: true, pull: 'never' },
        ...{ cpus: spec.cpus, memory: spec.memory, disk: spec.disk, env: spec.env },
        network: spec.network === 'none' ? { mode: 'none' } : {},
        ...{ accel: this.#options.accel, jail: this.#options.jail },
      }),
    );
  }

  /**
   * Adds sandboxes that are to continue a snapshot: all of them, or none. They hold their share.
   * @param origin the ID of what they continue
   * @throws ServiceError `quota`, `no-room`
   */
  reserve(tenant: Tenant, specs: readonly SandboxSpec[], origin: string): SandboxRecord[] {
    const wanted = specs.map((spec) => ({ id: newId(), spec, origin }));
    return this.#store.addAll(tenant, this.#options.host, wanted);
  }

  /** Starts one that `reserve` has added. If that fails, it has ended. @throws ServiceError */
  async begin(record: SandboxRecord, snapshot: string): Promise<SandboxRecord> {
    const { tenant, id } = record;
    return await this.#start(record, () => Container.restore(this.#home(tenant), snapshot, { name: id }));
  }

  /** What `reserve` has added has nothing to continue. */
  async giveUp(record: SandboxRecord, error: string): Promise<void> {
    await this.#endOrTryAgain(record, { reason: 'failed', error });
  }

  /**
   * Starts a sandbox as a copy of another: `reserve` and `begin` for one with an idempotency key.
   * @throws ServiceError
   */
  async continue(tenant: Tenant, spec: SandboxSpec, snapshot: string, key?: string): Promise<SandboxRecord> {
    const wanted = { id: newId(), spec, origin: snapshot, key };
    const { record, isNew } = this.#store.add(tenant, this.#options.host, wanted);
    return isNew ? await this.begin(record, snapshot) : record;
  }

  async #start(record: SandboxRecord, make: () => Promise<Container>): Promise<SandboxRecord> {
    const { id, tenant, spec } = record;
    try {
      const secrets = this.#secretsOf(record);
      const container = await make();
      await container.start({ onFallback: this.#options.onFallback, secrets });
      if (spec.atExpiry === 'pause' || spec.idle !== undefined) checkPause(container, spec);
      this.#store.run(id);
      const running = this.#store.find(tenant, id);
      this.#watch(running, container);
      this.#expire(running);
      return running;
    } catch (error) {
      const told = this.#tellStart(record, error);
      await this.#endOrTryAgain(record, { reason: 'failed', error: told.message });
      throw told;
    }
  }

  #tellStart({ id, tenant }: SandboxRecord, error: unknown): ServiceError {
    if (!hasCode(error, 'snapshot', 'no-such-snapshot')) return this.tell(error, 'the sandbox did not start');
    this.#options.onFault(`${id} of ${tenant} did not start: ${messageOf(error)}`);
    return new ServiceError('conflict', 'the snapshot cannot go on here', { cause: error });
  }

  /**
   * Calls `act` with a sandbox that runs. It is neither paused nor ended meanwhile.
   * @throws ServiceError as `occupy`; the error of `act`
   */
  async hold<T>(tenant: Tenant, id: string, act: (record: SandboxRecord, container: Container) => Promise<T>) {
    using _use = await this.occupy(tenant, id);
    return await this.#inTurn(id, async () => {
      const record = this.#store.find(tenant.name, id);
      return await act(record, this.#containerOf(record));
    });
  }

  /** @throws ServiceError `not-found` */
  find(tenant: Tenant, id: string): SandboxRecord {
    return this.#store.find(tenant.name, id);
  }

  /** The one that the tenant's idempotency key belongs to. */
  ofKey(tenant: Tenant, key: string): SandboxRecord | undefined {
    return this.#store.ofKey(tenant.name, key);
  }

  /** Those of the tenant, newest first. @throws ServiceError `bad-request` */
  list(tenant: Tenant, page: Page): Iterable<SandboxRecord> {
    return this.#store.list(tenant.name, page);
  }

  /** Where the list goes on behind a sandbox. */
  cursor({ tenant, id }: SandboxRecord): string {
    return this.#store.cursor(tenant, id);
  }

  /**
   * Runs a command to its end.
   * @param signal ends it: its caller is gone
   * @throws ServiceError
   */
  async exec(tenant: Tenant, id: string, spec: CommandSpec, signal: AbortSignal): Promise<CommandResult> {
    using use = await this.occupy(tenant, id);
    try {
      return await runCommand(use.container, spec, signal);
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
    const use = await this.occupy(tenant, id);
    const { files } = use.container;
    const limits = { signal, timeout: FILES_TIMEOUT };
    try {
      await files.stat(path, limits);
    } catch (error) {
      use[Symbol.dispose]();
      throw this.tell(error, 'the files cannot be read');
    }
    const output = new PassThrough();
    files
      .archive(path, basename(path) || '.', output, limits)
      .then(
        () => output.end(),
        (error) => output.destroy(this.tell(error, 'the files cannot be read')),
      )
      .finally(() => use[Symbol.dispose]());
    return output;
  }

  /**
   * Extracts a tar archive into a directory. Files belong to root. What came before an error stays.
   * @throws ServiceError; the error of `archive`
   */
  async writeFiles(tenant: Tenant, id: string, path: string, archive: Readable, signal: AbortSignal): Promise<void> {
    let failure: Error | undefined;
    archive.on('error', (error) => {
      failure = error;
    });
    using use = await this.occupy(tenant, id);
    try {
      await use.container.files.extract(path, archive, { signal, timeout: FILES_TIMEOUT });
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
   * Pauses a sandbox: its memory is saved and its machine ends, or its processors stand still if it is not
   * on KVM.
   * @throws ServiceError `not-found`, `not-running`; `conflict` if it is paused; `quota`, `no-room` for its
   *   memory on the disk; `bad-request` on User-Mode Linux: it runs on
   */
  async pause(tenant: Tenant, id: string): Promise<SandboxRecord> {
    const { name } = tenant;
    this.#store.find(name, id);
    return this.#inTurn(id, () => this.#pause(name, id));
  }

  async #pause(tenant: string, id: string): Promise<SandboxRecord> {
    const record = this.#store.find(tenant, id);
    if (record.status === 'paused') throw new ServiceError('conflict', 'the sandbox is paused');
    const container = this.#containerOf(record);
    checkPause(container, record.spec);
    const keptIn = container.state.accelerator === 'kvm' ? 'disk' : 'memory';
    this.#store.pausing(record, this.#options.host, keptIn === 'disk');
    clearTimeout(this.#expiries.get(id));
    this.#uses.forget(id);
    try {
      await (keptIn === 'disk' ? suspendContainer(container) : container.pause());
    } catch (error) {
      // If it has ended, who waits for that ends it.
      this.#store.resume(id);
      this.#expire(this.#store.find(tenant, id));
      throw this.tell(error, 'the sandbox was not paused');
    }
    if (keptIn === 'disk') this.#watches.delete(id);
    this.#store.pause(id, keptIn);
    return this.#store.find(tenant, id);
  }

  /**
   * Lets a paused sandbox go on.
   * @param lifetime milliseconds from now. Default: that of its spec
   * @throws ServiceError `not-found`, `not-running`; `conflict` if it is not paused, or cannot go on here;
   *   `quota`, `no-room`, `no-secret`: it stays paused
   */
  async resume(tenant: Tenant, id: string, lifetime?: number): Promise<SandboxRecord> {
    const { name } = tenant;
    this.#store.find(name, id);
    return this.#inTurn(id, () => this.#resume(name, id, lifetime));
  }

  /**
   * Lets a paused sandbox go on, and waits for one that is just paused or resumed.
   * @throws ServiceError as `resume`
   */
  async wake(tenant: Tenant, id: string, lifetime?: number): Promise<void> {
    await this.#inTurn(id, async () => {
      if (this.#store.find(tenant.name, id).status === 'paused') await this.#resume(tenant.name, id, lifetime);
    });
  }

  async #resume(tenant: string, id: string, lifetime?: number): Promise<SandboxRecord> {
    const record = this.#store.find(tenant, id);
    if (record.status === 'ended') throw new ServiceError('not-running', 'the sandbox is not running');
    const container = this.#containerOf(record, 'paused');
    this.#store.resuming(record, this.#options.host);
    return await this.#continue(record, container, lifetime);
  }

  /** Continues the container of a sandbox that is being resumed. If that fails, it is paused. */
  async #continue(record: SandboxRecord, container: Container, lifetime?: number): Promise<SandboxRecord> {
    const { tenant, id } = record;
    try {
      const secrets = this.#secretsOf(record);
      if (container.state.status === 'paused') await container.unpause();
      else await resumeContainer(container, { secrets, onFallback: this.#options.onFallback });
    } catch (error) {
      const { status } = container.state;
      if (status === 'suspended') this.#store.pause(id, 'disk');
      else if (status === 'paused') this.#store.pause(id, 'memory');
      else this.#endAfter(this.#due, 0, record, { reason: 'failed', error: 'it did not resume' });
      if (hasCode(error, 'snapshot')) {
        this.#options.onFault(`${id} of ${tenant} was not resumed: ${messageOf(error)}`);
        throw new ServiceError('conflict', 'the sandbox cannot go on here', { cause: error });
      }
      throw this.tell(error, 'the sandbox did not resume');
    }
    this.#store.resume(id, expiryAfter(record, lifetime));
    const running = this.#store.find(tenant, id);
    if (!this.#watches.has(id)) this.#watch(running, container);
    this.#expire(running);
    return running;
  }

  /**
   * The container of a sandbox that runs, for as long as it is used. One that resumes on use is resumed.
   * @throws ServiceError `not-found`, `not-running`; as `resume`
   */
  async use(tenant: Tenant, id: string): Promise<Use> {
    const { status, spec } = this.#store.find(tenant.name, id);
    if (status !== 'running' && this.takes(tenant, id)) await this.wake(tenant, id);
    const container = this.running(tenant, id);
    const use = this.#uses.begin(id, spec.idle);
    return { container, [Symbol.dispose]: use };
  }

  /** True if it runs, or resumes on use. @throws ServiceError `not-found` */
  takes(tenant: Tenant, id: string): boolean {
    const { status, spec } = this.#store.find(tenant.name, id);
    return status === 'running' || (spec.resumeOnUse && status !== 'starting' && status !== 'ended');
  }

  /**
   * As `use`, for what is one of the tenant's places.
   * @throws ServiceError `quota`; as `use`
   */
  async occupy(tenant: Tenant, id: string): Promise<Use> {
    const use = await this.use(tenant, id);
    try {
      const place = this.#places.take(tenant);
      const giveBack = () => {
        place[Symbol.dispose]();
        use[Symbol.dispose]();
      };
      return { container: use.container, [Symbol.dispose]: giveBack };
    } catch (error) {
      use[Symbol.dispose]();
      throw error;
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

  /**
   * The token of a sandbox that runs: it opens that one alone, also once it is paused.
   * @throws ServiceError `not-found`, `not-running`
   */
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

  /**
   * The token of the ports of a sandbox that runs.
   * @throws ServiceError `not-found`, `not-running`
   */
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

  /** What it gets at each start. @throws ServiceError `no-secret` */
  #secretsOf({ tenant, id, spec }: SandboxRecord): Secrets {
    return { ...this.#secrets.join(tenant, spec.secrets), ...proxied(this.#options, { tenant, sandbox: id }) };
  }

  /** Stops watching. The sandboxes run on. */
  close(): void {
    this.#isClosed = true;
    this.#uses.close();
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
    return this.#containerOf(this.#store.find(tenant.name, id));
  }

  #containerOf({ tenant, id, status }: SandboxRecord, wanted: 'running' | 'paused' = 'running'): Container {
    if (wanted === 'paused' && status !== 'paused') throw new ServiceError('conflict', 'the sandbox is not paused');
    const container = status === wanted ? findContainer(this.#home(tenant), id) : undefined;
    if (container !== undefined) return container;
    const what = status === 'paused' ? 'is paused: resume it first' : 'is not running';
    throw new ServiceError('not-running', `the sandbox ${what}`);
  }

  /** Notes it if its machine ends by itself. */
  #watch(record: SandboxRecord, container: Container): void {
    const { id } = record;
    const watch = Symbol(id);
    this.#watches.set(id, watch);
    const ended = async () => {
      // Of one that is just being saved, the machine ends too.
      await this.#turns.get(id);
      if (this.#watches.get(id) !== watch || this.#isClosed) return;
      // An earlier server, which was killed meanwhile, or the administrator has had it saved.
      const found = this.#findAlive(record);
      if (found !== 'unknown' && found?.state.status === 'suspended') {
        this.#rest(id);
        this.#store.pause(id, 'disk');
        return;
      }
      this.#endAfter(this.#due, 0, record, { reason: 'failed', error: 'its machine ended' });
    };
    container.wait().then(ended, ended);
  }

  /** Nothing of it is waited for while its machine is on the disk. */
  #rest(id: string): void {
    this.#watches.delete(id);
    this.#uses.forget(id);
    clearTimeout(this.#expiries.get(id));
  }

  /** Ends or pauses the sandbox with its lifetime, and pauses it once it is idle. */
  #expire(record: SandboxRecord): void {
    const { id, spec } = record;
    this.#uses.begin(id, spec.idle)();
    const act = () =>
      spec.atExpiry === 'pause' ? this.#pauseAtExpiry(record) : this.#endOrTryAgain(record, { reason: 'expired' });
    this.#after(this.#expiries, expiry(record) - Date.now(), id, act);
  }

  /** One that cannot be paused ends: nobody asks for it any more. */
  async #pauseAtExpiry({ tenant, id }: SandboxRecord): Promise<void> {
    const error = await this.#inTurn(id, async () => {
      if (this.#isClosed) return undefined;
      const record = this.#store.find(tenant, id);
      if (record.status !== 'running' || expiry(record) > Date.now()) return undefined;
      return await this.#pause(tenant, id).then(
        () => undefined,
        (failure: unknown) => messageOf(failure),
      );
    });
    // After its end, the next server tries.
    if (error === undefined || this.#isClosed) return;
    const record = this.#store.find(tenant, id);
    await this.#endOrTryAgain(record, { reason: 'expired', error: `it could not be paused: ${error}` });
  }

  /** One that cannot be paused runs on, until it is used and idle again. */
  async #pauseIdle(id: string): Promise<void> {
    await this.#inTurn(id, async () => {
      const record = this.#store.alive().find((each) => each.id === id);
      if (record?.status !== 'running' || this.#uses.isUsed(id)) return;
      await this.#pause(record.tenant, id);
    }).catch((error: unknown) => this.#options.onFault(`cannot pause ${id}, which is idle: ${messageOf(error)}`));
  }

  /** Begins when the changes of the sandbox that were asked for before are done. */
  async #inTurn<T>(id: string, act: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(id);
    const turn = (async () => {
      await before;
      return await act();
    })();
    const done = turn.then(
      () => {},
      () => {},
    );
    this.#turns.set(id, done);
    try {
      return await turn;
    } finally {
      if (this.#turns.get(id) === done) this.#turns.delete(id);
    }
  }

  /**
   * Ends the sandbox after so many milliseconds.
   * @param timers has one for each sandbox
   */
  #endAfter(timers: Map<string, NodeJS.Timeout>, milliseconds: number, record: SandboxRecord, end: End): void {
    this.#after(timers, milliseconds, record.id, () => this.#endOrTryAgain(record, end));
  }

  #after(timers: Map<string, NodeJS.Timeout>, milliseconds: number, id: string, act: () => Promise<void>): void {
    clearTimeout(timers.get(id));
    if (this.#isClosed) return;
    timers.set(id, setTimeout(act, Math.max(0, milliseconds)));
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
      this.#watches.delete(id);
      this.#uses.forget(id);
      await removeContainer(this.#home(tenant), id);
      this.#store.end(record, end);
      for (const timers of [this.#expiries, this.#due]) {
        clearTimeout(timers.get(id));
        timers.delete(id);
      }
    };
    const ending = this.#inTurn(id, act).finally(() => this.#ends.delete(id));
    this.#ends.set(id, ending);
    return ending;
  }

  /** What a tenant is told of an error. @param what what failed */
  tell(error: unknown, what: string): ServiceError {
    return tell(error, what, this.#options.onFault);
  }
}
