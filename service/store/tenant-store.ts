// The tenants in the database, and their API keys: `tsvm_ID_SECRET`. Only a hash of the secret is
// kept. A secret has 256 random bits, so one round of SHA-256 is enough.
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import { ServiceError } from '../errors.js';
import { rateSchema, type Tenant } from '../records.js';
import { SCOPES, type Scope } from '../scope.js';
import { type Database, transaction } from './database.js';

export const TENANT = z.object({
  ...{
    name: z.string(),
    sandboxes: z.number(),
    snapshots: z.number(),
    jobs: z.number(),
    cpus: z.number(),
    memory: z.number(),
    disk: z.number(),
    files: z.number(),
    rate: rateSchema,
  },
});
const COLUMNS = Object.keys(TENANT.shape);
const KEYED = TENANT.extend({ hash: z.instanceof(Uint8Array), scope: z.enum(SCOPES) });
const SECRET = z.object({ secret: z.string().nullable() });
const FORM = /^tsvm_([0-9a-f]{16})_([\w-]{43})$/;
/** Names are folders. */
const NAME = /^[a-z0-9][a-z0-9-]{0,31}$/;
/** What the hash of an unknown key is compared with. */
const NOTHING = Buffer.alloc(32);

/** Whose a key is, and what it may do. */
export interface Caller {
  tenant: Tenant;
  scope: Scope;
}

export class TenantStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** @throws ServiceError `bad-request`, `conflict` if the name is taken */
  add(tenant: Tenant): void {
    const { name, rate } = tenant;
    if (!NAME.test(name)) {
      const given = JSON.stringify(name);
      throw new ServiceError('bad-request', `a tenant's name has 1 to 32 of a-z, 0-9 and -, not: ${given}`);
    }
    checkRate(rate);
    const places = COLUMNS.map(() => '?');
    const statement = `INSERT OR IGNORE INTO tenants (${COLUMNS.join(', ')}) VALUES (${places.join(', ')})`;
    const { changes } = this.#database.prepare(statement).run(...valuesOf(tenant));
    if (Number(changes) === 0) throw new ServiceError('conflict', `the tenant ${name} exists already`);
  }

  find(name: string): Tenant | undefined {
    const row = this.#database.prepare('SELECT * FROM tenants WHERE name = ?').get(name);
    return row === undefined ? undefined : TENANT.parse(row);
  }

  /** Changes the tenant's share, from the next request on. @throws ServiceError `not-found`, `bad-request` */
  set(name: string, change: Partial<Omit<Tenant, 'name'>>): void {
    if (change.rate !== undefined) checkRate(change.rate);
    transaction(this.#database, () => {
      this.#check(name);
      const known = this.find(name);
      const statement = `UPDATE tenants SET ${COLUMNS.map((column) => `${column} = ?`).join(', ')} WHERE name = ?`;
      this.#database.prepare(statement).run(...valuesOf(TENANT.parse({ ...known, ...change })), name);
    });
  }

  /**
   * All tenants, by name.
   * @param after a name: only later ones
   * @param limit Default: none
   */
  list({ after = '', limit = -1 }: { after?: string | undefined; limit?: number } = {}): Tenant[] {
    const statement = 'SELECT * FROM tenants WHERE name > ? ORDER BY name LIMIT ?';
    return this.#database
      .prepare(statement)
      .all(after, limit)
      .map((row) => TENANT.parse(row));
  }

  /**
   * Ends all keys of a tenant that is about to be removed.
   * @throws ServiceError `not-found`; `conflict` if it has sandboxes or jobs that have not ended
   */
  close(name: string): void {
    transaction(this.#database, () => {
      this.#checkIdle(name);
      this.removeKeys(name);
    });
  }

  /** Removes a tenant, its keys and the records of its sandboxes and jobs. @throws ServiceError as `close` */
  remove(name: string): void {
    transaction(this.#database, () => {
      this.#checkIdle(name);
      for (const table of ['sandboxes', 'jobs']) {
        this.#database.prepare(`DELETE FROM ${table} WHERE tenant = ?`).run(name);
      }
      this.#database.prepare('DELETE FROM tenants WHERE name = ?').run(name);
    });
  }

  #checkIdle(name: string): void {
    this.#check(name);
    for (const table of ['sandboxes', 'jobs']) {
      const alive = `SELECT 1 FROM ${table} WHERE tenant = ? AND status <> 'ended' LIMIT 1`;
      if (this.#database.prepare(alive).get(name) !== undefined) {
        throw new ServiceError('conflict', `the tenant ${name} has ${table} that have not ended`);
      }
    }
  }

  /** Makes a key, which is told once. @throws ServiceError `not-found` */
  addKey(tenant: string, scope: Scope = 'admin'): string {
    this.#check(tenant);
    const id = randomBytes(8).toString('hex');
    const secret = randomBytes(32).toString('base64url');
    const statement = 'INSERT INTO keys (id, tenant, hash, scope, created) VALUES (?, ?, ?, ?, ?)';
    this.#database.prepare(statement).run(id, tenant, hashOf(secret), scope, new Date().toISOString());
    return `tsvm_${id}_${secret}`;
  }

  /**
   * What signs callbacks to the tenant. It is made when it is first asked for.
   * @param isNew true: another one takes its place
   * @throws ServiceError `not-found`
   */
  callbackSecret(tenant: string, isNew = false): string {
    this.#check(tenant);
    const find = this.#database.prepare('SELECT secret FROM tenants WHERE name = ?');
    const known = SECRET.parse(find.get(tenant)).secret;
    if (known !== null && !isNew) return known;
    const made = `whsec_${randomBytes(32).toString('base64')}`;
    // Another process may make one too: whoever asks first is told the one that stays.
    const statement = 'UPDATE tenants SET secret = ? WHERE name = ? AND (? OR secret IS NULL)';
    this.#database.prepare(statement).run(made, tenant, isNew ? 1 : 0);
    return SECRET.parse(find.get(tenant)).secret ?? made;
  }

  /** Ends all keys of a tenant. @throws ServiceError `not-found` */
  removeKeys(tenant: string): void {
    this.#check(tenant);
    this.#database.prepare('DELETE FROM keys WHERE tenant = ?').run(tenant);
  }

  /** The tenant that a key belongs to. */
  authenticate(key: string): Caller | undefined {
    const [, id = '', secret = ''] = FORM.exec(key) ?? [];
    const statement = 'SELECT tenants.*, hash, scope FROM keys JOIN tenants ON name = tenant WHERE id = ?';
    const row = this.#database.prepare(statement).get(id);
    const known = row === undefined ? undefined : KEYED.parse(row);
    const isRight = timingSafeEqual(hashOf(secret), known?.hash ?? NOTHING);
    return isRight && known !== undefined ? { tenant: TENANT.parse(known), scope: known.scope } : undefined;
  }

  #check(name: string): void {
    if (this.#database.prepare('SELECT 1 FROM tenants WHERE name = ?').get(name) === undefined) {
      throw new ServiceError('not-found', `no such tenant: ${JSON.stringify(name)}`);
    }
  }
}

/** In the order of the columns. */
const valuesOf = (tenant: Tenant) => Object.values(TENANT.parse(tenant));

/** @throws ServiceError `bad-request` */
function checkRate(rate: string): void {
  if (rateSchema.safeParse(rate).success) return;
  throw new ServiceError('bad-request', `a rate is 1 to 9999 /s, /m or /h, or none, not: ${JSON.stringify(rate)}`);
}

function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}
