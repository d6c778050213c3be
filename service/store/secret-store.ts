// The secrets of tenants in the database: AES-256-GCM, by a key that is not in it. The tenant and the
// name are authenticated with each value, so none can be moved to another's row.
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { z } from 'zod';
import { ServiceError } from '../errors.js';
import {
  type JoinedSecrets,
  joinSecrets,
  MAX_SECRETS,
  MAX_VALUE,
  type SecretRecord,
  type SecretUse,
  secretNameSchema,
  secretValueSchema,
} from '../secret.js';
import { type Database, transaction } from './database.js';
import { findKey, makeKey } from './secret-key.js';

const CIPHER = 'aes-256-gcm';
const NONCE = 12;
const TAG = 16;
const RECORD = z.object({ name: z.string(), created: z.string(), updated: z.string() });
const VALUE = z.object({ value: z.instanceof(Uint8Array) });
const COUNT = z.object({ count: z.number() });

export class SecretStore {
  readonly #database: Database;
  readonly #folder: string;

  /** @param folder has the key */
  constructor(database: Database, folder: string) {
    this.#database = database;
    this.#folder = folder;
  }

  /**
   * Gives a secret its value.
   * @throws ServiceError `bad-request`, `not-found` without such a tenant, `quota`
   */
  set(tenant: string, name: string, value: string): SecretRecord {
    checkName(name);
    checkValue(value);
    const sealed = seal(makeKey(this.#folder), [tenant, name], value);
    return transaction(this.#database, () => {
      this.#check(tenant);
      const others = 'SELECT count(*) AS count FROM secrets WHERE tenant = ? AND name <> ?';
      if (COUNT.parse(this.#database.prepare(others).get(tenant, name)).count >= MAX_SECRETS) {
        throw new ServiceError('quota', `a tenant has ${MAX_SECRETS} secrets at most`);
      }
      const now = new Date().toISOString();
      const statement = `INSERT INTO secrets (tenant, name, value, created, updated) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (tenant, name) DO UPDATE SET value = excluded.value, updated = excluded.updated`;
      this.#database.prepare(statement).run(tenant, name, sealed, now, now);
      const find = 'SELECT name, created, updated FROM secrets WHERE tenant = ? AND name = ?';
      return RECORD.parse(this.#database.prepare(find).get(tenant, name));
    });
  }

  /** All of the tenant, by name. @throws ServiceError `not-found` */
  list(tenant: string): SecretRecord[] {
    this.#check(tenant);
    const statement = 'SELECT name, created, updated FROM secrets WHERE tenant = ? ORDER BY name';
    return this.#database
      .prepare(statement)
      .all(tenant)
      .map((row) => RECORD.parse(row));
  }

  /** @throws ServiceError `not-found` */
  remove(tenant: string, name: string): void {
    this.#check(tenant);
    const statement = this.#database.prepare('DELETE FROM secrets WHERE tenant = ? AND name = ?');
    if (Number(statement.run(tenant, name).changes) === 0) throw new ServiceError('not-found', 'no such secret');
  }

  /** The present values. @throws ServiceError `no-secret` if one is missing or cannot be read */
  join(tenant: string, uses: readonly SecretUse[]): JoinedSecrets {
    const find = this.#database.prepare('SELECT value FROM secrets WHERE tenant = ? AND name = ?');
    return joinSecrets(uses, (name) => {
      const row = find.get(tenant, name);
      if (row === undefined) throw new ServiceError('no-secret', `the tenant has no secret ${name}`);
      const key = findKey(this.#folder);
      const value = key && open(key, [tenant, name], VALUE.parse(row).value);
      if (value === undefined) throw new ServiceError('no-secret', `the secret ${name} cannot be read: set it again`);
      return value;
    });
  }

  #check(tenant: string): void {
    if (this.#database.prepare('SELECT 1 FROM tenants WHERE name = ?').get(tenant) === undefined) {
      throw new ServiceError('not-found', `no such tenant: ${JSON.stringify(tenant)}`);
    }
  }
}

/** @throws ServiceError `bad-request` */
function checkName(name: string): void {
  const { error } = secretNameSchema.safeParse(name);
  if (error !== undefined) throw new ServiceError('bad-request', `the name of a secret: ${error.issues[0]?.message}`);
}

/** The schema counts characters. @throws ServiceError `bad-request` */
function checkValue(value: string): void {
  const isValid = secretValueSchema.safeParse({ value }).success && Buffer.byteLength(value) <= MAX_VALUE;
  if (isValid) return;
  throw new ServiceError('bad-request', `a secret is a text of 1 to ${MAX_VALUE} bytes without NUL characters`);
}

/** What is authenticated: no other pair of words has the same. */
const words = (place: readonly [tenant: string, name: string]): Buffer => Buffer.from(JSON.stringify(place));

/** Nonce, tag and what is encrypted. */
function seal(key: Buffer, place: readonly [string, string], value: string): Buffer {
  const nonce = randomBytes(NONCE);
  const cipher = createCipheriv(CIPHER, key, nonce, { authTagLength: TAG }).setAAD(words(place));
  const hidden = Buffer.concat([cipher.update(value, 'utf8'), cipher.final()]);
  return Buffer.concat([nonce, cipher.getAuthTag(), hidden]);
}

/** Undefined if it is not what was sealed there by this key. */
function open(key: Buffer, place: readonly [string, string], sealed: Uint8Array): string | undefined {
  try {
    const decipher = createDecipheriv(CIPHER, key, sealed.subarray(0, NONCE), { authTagLength: TAG });
    decipher.setAAD(words(place)).setAuthTag(sealed.subarray(NONCE, NONCE + TAG));
    return Buffer.concat([decipher.update(sealed.subarray(NONCE + TAG)), decipher.final()]).toString('utf8');
  } catch {
    return undefined;
  }
}
