// The service: sandboxes and jobs of tenants over HTTP. Its data folder has the database, and a home for each
// tenant.
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import type { ReaderTimes } from './http/event-stream.js';
import type { Address } from './http/listen.js';
import { Metrics, type MetricsServer, serveMetrics } from './http/metrics.js';
import { RequestRates } from './http/rate-limiter.js';
import { type HttpServer, startServer } from './http/server.js';
import { type CallbackOptions, Callbacks } from './jobs/callbacks.js';
import { Jobs } from './jobs/jobs.js';
import { ContainerMachines, runName } from './jobs/machines.js';
import type { Rate, Resources, Tenant } from './records.js';
import { Commands } from './sandboxes/commands.js';
import { homePath, type MachineOptions, removeLeft } from './sandboxes/container.js';
import { Files } from './sandboxes/files.js';
import { Places } from './sandboxes/places.js';
import { Ports } from './sandboxes/ports.js';
import { Sandboxes } from './sandboxes/sandboxes.js';
import { Snapshots } from './sandboxes/snapshots.js';
import type { Scope } from './scope.js';
import type { SecretRecord } from './secret.js';
import { type Database, holdFolder, openDatabase } from './store/database.js';
import { FileStore, filesPath } from './store/file-store.js';
import { held } from './store/held.js';
import { JobStore } from './store/job-store.js';
import { SandboxStore } from './store/sandbox-store.js';
import { SecretStore } from './store/secret-store.js';
import { SnapshotStore } from './store/snapshot-store.js';
import { Statistics } from './store/statistics.js';
import { TenantStore } from './store/tenant-store.js';

export { homePath } from './sandboxes/container.js';
export { writeBackup } from './store/backup.js';
export { checkDataFolder } from './store/database.js';

/** The boot of the host: random(4). */
const BOOT_ID = '/proc/sys/kernel/random/boot_id';

export interface ServiceOptions extends Omit<MachineOptions, 'onFallback'> {
  listen: Address;
  /** Called once with what the administrator should know. */
  onWarning: (message: string) => void;
  readers?: ReaderTimes;
  /** Connections at one time. Default: 1000 */
  connections?: number | undefined;
  /** Milliseconds for the headers of a request. Default: 10,000 */
  headersTimeout?: number | undefined;
  /** What those without a key may ask, for each address. Default: 50 a second */
  strangers?: Rate | undefined;
  callbacks?: CallbackOptions | undefined;
  /** Where metrics are read, by whoever reaches it. Default: nowhere */
  metrics?: Address | undefined;
  /** Images by the names of E2B's templates. */
  templates?: ReadonlyMap<string, string>;
  /**
   * What the hosts of ports of sandboxes end with: `localhost:7070`. Default: no ports are served
   */
  domain?: string | undefined;
}

export interface Service {
  url: string;
  /** Of the metrics, if they are read. */
  metricsUrl?: string | undefined;
  /** Ends the server. Sandboxes and jobs run on, and the next server finds them. */
  close(): Promise<void>;
}

/**
 * Starts a server on the data folder.
 * @throws ServiceError `conflict` if another one uses the folder, `internal`; an error with the errno
 *   of listen(2)
 */
export async function startService({ listen, onWarning, ...options }: ServiceOptions): Promise<Service> {
  const { folder, host, onFault } = options;
  let hasWarned = false;
  const onFallback: MachineOptions['onFallback'] = ({ accel, reason }) => {
    if (hasWarned) return;
    hasWarned = true;
    const wall = 'a weaker wall than KVM between tenants: TSVM_ISOLATION=vm allows KVM alone';
    onWarning(`sandboxes run on ${accel}, ${wall} (${reason})`);
  };
  const machines = { ...options, onFallback };
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const lock = holdFolder(folder);
  let database: Database | undefined;
  const closeFolder = () => {
    database?.close();
    lock[Symbol.dispose]();
  };
  let close = async () => closeFolder();
  try {
    database = openDatabase(folder, { isHeld: true });
    const tenants = new TenantStore(database);
    const statistics = new Statistics(database);
    const metrics = options.metrics === undefined ? undefined : new Metrics({ tenants, statistics, host });
    const places = new Places();
    const files = new FileStore(folder);
    const secrets = new SecretStore(database, folder);
    const sandboxStore = new SandboxStore(database);
    const sandboxes = new Sandboxes(sandboxStore, secrets, places, machines);
    const snapshotStore = new SnapshotStore(database);
    const snapshots = new Snapshots(snapshotStore, sandboxes, machines);
    const commands = new Commands(sandboxes, places);
    const contents = new Files(sandboxes);
    const jobStore = new JobStore(database, { onEnd: (tenant, reason) => metrics?.jobEnded(tenant, reason) });
    const callbacks = new Callbacks(jobStore, tenants, onFault, options.callbacks);
    const runs = new ContainerMachines(readFileSync(BOOT_ID, 'latin1').trim(), files, secrets, machines);
    const jobs = new Jobs(jobStore, files, runs, { host, onFault });
    let server: HttpServer | undefined;
    let metricsServer: MetricsServer | undefined;
    close = async () => {
      callbacks.close();
      jobs.close();
      await server?.close();
      metricsServer?.close();
      commands.close();
      sandboxes.close();
      closeFolder();
    };
    const containers = [...sandboxStore.alive().map(({ id }) => id), ...jobStore.placed().map(runName)];
    const known = new Set([...containers, ...snapshotStore.ids()]);
    await Promise.all(tenants.list().map(({ name }) => removeLeft(machines, name, known)));
    files.removeOthers(new Set(tenants.list().map(({ name }) => name)));
    for (const { name } of tenants.list()) files.sweep(name, jobStore.keepings(name));
    await sandboxes.recover();
    await snapshots.recover();
    jobs.recover();
    // Both may find their port taken. Nothing waits for what the first has begun.
    if (metrics !== undefined && options.metrics !== undefined) {
      metricsServer = await serveMetrics(options.metrics, metrics, onFault);
    }
    server = await startServer(listen, {
      folder,
      tenants,
      sandboxes,
      snapshots,
      jobs,
      places,
      secrets,
      statistics,
      commands,
      files: contents,
      ports: new Ports(sandboxes, places),
      domain: options.domain,
      templates: options.templates ?? new Map(),
      onFault,
      readers: options.readers,
      connections: options.connections,
      headersTimeout: options.headersTimeout,
      rates: new RequestRates(options.strangers),
      metrics,
    });
    callbacks.start();
    return { url: server.url, metricsUrl: metricsServer?.url, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The tenants of a data folder, whether a server uses it or not. */
export class Tenants implements Disposable {
  readonly #folder: string;
  readonly #database: Database;
  readonly #store: TenantStore;
  readonly #secrets: SecretStore;

  /** @throws ServiceError `internal`; `conflict` if a server of an older version uses the folder */
  constructor(folder: string) {
    this.#folder = folder;
    this.#database = openDatabase(folder);
    this.#store = new TenantStore(this.#database);
    this.#secrets = new SecretStore(this.#database, folder);
  }

  /**
   * Adds a tenant, with an empty home.
   * @returns an API key
   * @throws ServiceError `bad-request`, `conflict`
   */
  add(tenant: Tenant): string {
    this.#store.add(tenant);
    // Of a request that was under way when a tenant of this name was removed.
    rmSync(filesPath(this.#folder, tenant.name), { recursive: true, force: true });
    mkdirSync(homePath(this.#folder, tenant.name), { recursive: true, mode: 0o700 });
    return this.#store.addKey(tenant.name);
  }

  /** Changes the tenant's share, from the next request on. @throws ServiceError `not-found`, `bad-request` */
  set(name: string, change: Partial<Omit<Tenant, 'name'>>): void {
    this.#store.set(name, change);
  }

  /** All tenants, with what their sandboxes and jobs hold. */
  list(): (Tenant & { held: Resources })[] {
    return this.#store.list().map((tenant) => ({ ...tenant, held: held(this.#database, tenant.name) }));
  }

  /**
   * What signs callbacks to a tenant.
   * @param isNew true: another one takes its place
   * @throws ServiceError `not-found`
   */
  callbackSecret(name: string, { isNew = false } = {}): string {
    return this.#store.callbackSecret(name, isNew);
  }

  /** Gives a secret of a tenant its value. @throws ServiceError `not-found`, `bad-request`, `quota` */
  setSecret(tenant: string, name: string, value: string): void {
    this.#secrets.set(tenant, name, value);
  }

  /** The secrets of a tenant, without their values. @throws ServiceError `not-found` */
  secrets(tenant: string): SecretRecord[] {
    return this.#secrets.list(tenant);
  }

  /** @throws ServiceError `not-found` */
  removeSecret(tenant: string, name: string): void {
    this.#secrets.remove(tenant, name);
  }

  /** Makes another API key, of the scope `admin` unless another is named. `revoke` ends all others. @throws ServiceError `not-found` */
  key(name: string, { revoke = false, scope }: { revoke?: boolean; scope?: Scope | undefined } = {}): string {
    if (revoke) this.#store.removeKeys(name);
    return this.#store.addKey(name, scope);
  }

  /**
   * Removes a tenant, its keys, records, home and files.
   * @throws ServiceError `not-found`; `conflict` if it has sandboxes or jobs that have not ended
   */
  remove(name: string): void {
    // The record goes last: what is killed here is done again, and no tenant of the same name finds files.
    this.#store.close(name);
    for (const path of [homePath(this.#folder, name), filesPath(this.#folder, name)]) {
      rmSync(path, { recursive: true, force: true });
    }
    this.#store.remove(name);
  }

  [Symbol.dispose](): void {
    this.#database.close();
  }
}
