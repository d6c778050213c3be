// Where lists go on. A cursor is a position, so it outlives the record that it was made of: a client
// that removes what it lists misses nothing. It is encrypted, since positions count the records of all
// tenants.
import { createCipheriv, createDecipheriv, createHash } from 'node:crypto';
import { z } from 'zod';
import { ServiceError } from '../errors.js';
import type { Database } from './database.js';

const CURSOR = /^next-([\w-]{22})$/;
const CIPHER = 'aes-128-ecb';
const KEY = z.object({ key: z.instanceof(Uint8Array) });
const NUMBER = z.object({ number: z.number() });

export class Cursors {
  readonly #database: Database;
  readonly #table: 'jobs' | 'sandboxes' | 'snapshots';

  constructor(database: Database, table: 'jobs' | 'sandboxes' | 'snapshots') {
    this.#database = database;
    this.#table = table;
  }

  /**
   * Where the list goes on behind a record that is there.
   * @param tenant whose list it is. Undefined: that of all
   */
  behind(tenant: string | undefined, id: string): string {
    const block = Buffer.alloc(16);
    block.writeBigUInt64BE(BigInt(this.read(tenant, id)));
    this.#mark(tenant).copy(block, 8);
    // One block, whose second half tells whether it is ours.
    const cipher = createCipheriv(CIPHER, this.#key(), null).setAutoPadding(false);
    return `next-${cipher.update(block).toString('base64url')}`;
  }

  /**
   * The number that those of the list are below.
   * @param before a cursor of this list, or the ID of a record of it. Undefined: the list begins
   * @throws ServiceError `bad-request` for another one: nothing would look like the end of the list
   */
  read(tenant: string | undefined, before: string | undefined): number {
    if (before === undefined) return Number.MAX_SAFE_INTEGER;
    const number = this.#open(tenant, before) ?? this.#numberOf(tenant, before);
    if (number !== undefined) return number;
    throw new ServiceError('bad-request', 'there is no such place in the list any more: list from the newest one');
  }

  #open(tenant: string | undefined, text: string): number | undefined {
    const [, block = ''] = CURSOR.exec(text) ?? [];
    const bytes = Buffer.from(block, 'base64url');
    if (bytes.length !== 16) return undefined;
    const plain = createDecipheriv(CIPHER, this.#key(), null).setAutoPadding(false).update(bytes);
    return plain.subarray(8).equals(this.#mark(tenant)) ? Number(plain.readBigUInt64BE()) : undefined;
  }

  #numberOf(tenant: string | undefined, id: string): number | undefined {
    const [whose, names] = tenant === undefined ? ['', []] : [' AND tenant = ?', [tenant]];
    const statement = `SELECT number FROM ${this.#table} WHERE id = ?${whose}`;
    const row = this.#database.prepare(statement).get(id, ...names);
    return row === undefined ? undefined : NUMBER.parse(row).number;
  }

  /** Of this list. No tenant's name is empty. */
  #mark(tenant = ''): Buffer {
    return createHash('sha256').update(`${this.#table}\n${tenant}`).digest().subarray(0, 8);
  }

  #key(): Uint8Array {
    return KEY.parse(this.#database.prepare('SELECT key FROM cursorKey').get()).key;
  }
}
