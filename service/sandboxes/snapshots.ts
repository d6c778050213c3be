// The snapshots of sandboxes: each is one in its tenant's home, and new sandboxes continue it. A fork is a
// snapshot that is gone when its sandboxes run.
import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { messageOf } from '../../errors/index.js';
import type { Container, Home } from '../../sandbox/index.js';
import { ServiceError } from '../errors.js';
import type { ContinuedSpec, SandboxRecord, SandboxSpec, SnapshotRecord, Tenant } from '../records.js';
import type { SnapshotPage, SnapshotStore } from '../store/snapshot-store.js';
import { copyContainer, homeOf, type MachineOptions, removeSnapshot } from './container.js';
import type { Sandboxes } from './sandboxes.js';

/**
 * Bytes of the specs of a fork's copies together, as JSON. Each has a record, and the answer has all:
 * a hundred of a million bytes would keep the server from all others for seconds.
 */
const MAX_COPIED = 2 ** 23;

/** What a fork may ask for. */
export interface ForkSpec extends ContinuedSpec {
  count: number;
}

export class Snapshots {
  readonly #store: SnapshotStore;
  readonly #sandboxes: Sandboxes;
  readonly #options: MachineOptions;
  /** The sandboxes that begin from a snapshot now, by its ID. */
  readonly #starts = new Map<string, Set<Promise<unknown>>>();
  /** The removals under way, by ID. */
  readonly #removals = new Map<string, Promise<void>>();

  constructor(store: SnapshotStore, sandboxes: Sandboxes, options: MachineOptions) {
    this.#store = store;
    this.#sandboxes = sandboxes;
    this.#options = options;
  }

  /** Removes what an earlier server was writing or removing. Call it before all else. */
  async recover(): Promise<void> {
    await Promise.all(this.#store.unfinished().map((record) => this.#removeOrTell(record)));
  }

  /**
   * Makes a snapshot of a sandbox, which runs on.
   * @throws ServiceError `not-found`, `not-running`; `bad-request` if it is not on KVM; `quota`, `no-room`
   */
  async create(tenant: Tenant, sandbox: string): Promise<SnapshotRecord> {
    return await this.#sandboxes.hold(tenant, sandbox, async (record, container) => {
      const id = newId();
      checkCopy(container, record.spec);
      this.#store.add(tenant, this.#options.host, { id, of: record, status: 'making' });
      await this.#copy(tenant, id, container);
      this.#store.ready(id);
      return this.#store.find(tenant.name, id);
    });
  }

  /** @throws ServiceError `not-found` */
  find(tenant: Tenant, id: string): SnapshotRecord {
    return this.#store.find(tenant.name, id);
  }

  /** Those of the tenant, newest first. @throws ServiceError `bad-request` */
  list(tenant: Tenant, page: SnapshotPage): Iterable<SnapshotRecord> {
    return this.#store.list(tenant.name, page);
  }

  /** Where the list goes on behind a snapshot. */
  cursor({ tenant, id }: SnapshotRecord): string {
    return this.#store.cursor(tenant, id);
  }

  /**
   * Starts a sandbox that continues a snapshot. Resolves when it takes commands.
   * @param key a second call with the same one returns what became of the first
   * @throws ServiceError `not-found`; `conflict` if it cannot go on here; as `Sandboxes.create`
   */
  async start(tenant: Tenant, id: string, asked: ContinuedSpec, key?: string): Promise<SandboxRecord> {
    const spec = this.#specOf(tenant, id, key);
    const start = this.#sandboxes.continue(tenant, continued(spec, asked), id, key);
    const starts = this.#starts.get(id) ?? new Set();
    this.#starts.set(id, starts.add(start));
    try {
      return await start;
    } finally {
      starts.delete(start);
      if (starts.size === 0) this.#starts.delete(id);
    }
  }

  /**
   * Starts copies of a sandbox as it is now. It runs on. All of them get their share, or none is started.
   * @returns them. One that did not start has ended.
   * @throws ServiceError as `create`
   */
  async fork(tenant: Tenant, sandbox: string, { count, ...asked }: ForkSpec): Promise<SandboxRecord[]> {
    const id = newId();
    const copies = await this.#sandboxes.hold(tenant, sandbox, async (record, container) => {
      checkCopy(container, record.spec);
      const spec = continued(record.spec, asked);
      checkCopied(spec, count);
      this.#store.add(tenant, this.#options.host, { id, of: record, status: 'forking' });
      let reserved: SandboxRecord[] = [];
      try {
        reserved = this.#sandboxes.reserve(tenant, Array<SandboxSpec>(count).fill(spec), sandbox);
        await copyContainer(container, id);
        return reserved;
      } catch (error) {
        const told = this.#sandboxes.tell(error, 'the sandbox was not forked');
        await Promise.all(reserved.map((copy) => this.#sandboxes.giveUp(copy, told.message)));
        await this.#removeOrTell({ tenant: tenant.name, id });
        throw told;
      }
    });
    const rest = [...copies];
    // More at a time would not run sooner.
    const starter = async () => {
      for (let copy = rest.pop(); copy !== undefined; copy = rest.pop()) {
        await this.#sandboxes.begin(copy, id).catch(() => {});
      }
    };
    await Promise.all(Array.from({ length: availableParallelism() }, starter));
    await this.#removeOrTell({ tenant: tenant.name, id });
    return copies.map((copy) => this.#sandboxes.find(tenant, copy.id));
  }

  /**
   * Removes a snapshot. Sandboxes that have continued it run on.
   * @throws ServiceError `not-found`
   */
  async remove(tenant: Tenant, id: string): Promise<void> {
    this.#store.removing(tenant.name, id);
    await Promise.allSettled(this.#starts.get(id) ?? []);
    try {
      await this.#remove({ tenant: tenant.name, id });
    } catch (error) {
      throw this.#sandboxes.tell(error, 'the snapshot was not removed');
    }
  }

  /** A request with a key gets its sandbox again when the snapshot is gone. @throws ServiceError `not-found` */
  #specOf(tenant: Tenant, id: string, key?: string): SandboxSpec {
    try {
      return this.#store.find(tenant.name, id).spec;
    } catch (error) {
      const first = key === undefined ? undefined : this.#sandboxes.ofKey(tenant, key);
      if (first?.origin !== id) throw error;
      return first.spec;
    }
  }

  /** If that fails, nothing is left of it. */
  async #copy({ name }: Tenant, id: string, container: Container): Promise<void> {
    try {
      await copyContainer(container, id);
    } catch (error) {
      await this.#removeOrTell({ tenant: name, id });
      throw this.#sandboxes.tell(error, 'the sandbox was not copied');
    }
  }

  /** What cannot be removed holds its part of the disk, and the next server tries again. */
  async #removeOrTell(of: Pick<SnapshotRecord, 'tenant' | 'id'>): Promise<void> {
    await this.#remove(of).catch((error: unknown) =>
      this.#options.onFault(`cannot remove ${of.id} of ${of.tenant}: ${messageOf(error)}`),
    );
  }

  /** A second call waits for the first: what it held is free once its files are gone. */
  #remove({ tenant, id }: Pick<SnapshotRecord, 'tenant' | 'id'>): Promise<void> {
    const known = this.#removals.get(id);
    if (known !== undefined) return known;
    const act = async () => {
      await removeSnapshot(this.#home(tenant), id);
      this.#store.remove(id);
    };
    const removal = act().finally(() => this.#removals.delete(id));
    this.#removals.set(id, removal);
    return removal;
  }

  #home(tenant: string): Home {
    return homeOf(this.#options.folder, tenant);
  }
}

function newId(): string {
  return `sn-${randomBytes(8).toString('hex')}`;
}

function continued(spec: SandboxSpec, asked: ContinuedSpec): SandboxSpec {
  const given = Object.entries(asked).filter(([, value]) => value !== undefined);
  return { ...spec, ...Object.fromEntries(given) };
}

/** @throws ServiceError `bad-request` if the copies say too much together */
function checkCopied(spec: SandboxSpec, count: number): void {
  const most = Math.max(1, Math.floor(MAX_COPIED / Buffer.byteLength(JSON.stringify(spec))));
  if (count > most) throw new ServiceError('bad-request', `of a spec as long as this one, ${most} copies are the most`);
}

/** @throws ServiceError `bad-request` if its machine cannot be copied */
function checkCopy({ state: { accelerator } }: Container, { secrets }: SandboxSpec): void {
  if (accelerator !== 'kvm') {
    throw new ServiceError('bad-request', 'a sandbox that is not on KVM has no snapshots and no forks');
  }
  // The proxy of the copy would have another CA, and know other tokens, than its memory.
  if (secrets.some(({ placeholder }) => placeholder !== undefined)) {
    throw new ServiceError('bad-request', 'a sandbox with placeholders of secrets has no snapshots and no forks');
  }
}
