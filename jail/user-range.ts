// The user IDs of which root gives one to each jail.
import { readFileSync } from 'node:fs';

/** The environment variable with the range: `FIRST:COUNT`. */
export const USERS_VARIABLE = 'TSVM_UIDS';

export interface UserRange {
  first: number;
  count: number;
}

/** No distribution assigns these: systemd's list of user IDs has them as unused. */
const DEFAULT: UserRange = { first: 2_130_706_432, count: 65_536 };
/** The user of root's machines in /etc/subuid. */
const NAME = 'tsvm';
/** The kernel takes -1 for no user, and its 16-bit form too. */
const NO_USERS = [65_535, 2 ** 32 - 1];

/** The form of a range, in words. */
export const RANGE_FORM = 'FIRST:COUNT, user IDs that no other user has';

/** The range of a word `FIRST:COUNT`; undefined if it is none. */
export function parseRange(word: string): UserRange | undefined {
  const [, first = 0, count = 0] = (/^(\d{1,10}):(\d{1,10})$/.exec(word) ?? []).map(Number);
  const isRange = first > 0 && count > 0 && first + count <= 2 ** 32 - 1;
  return isRange && !NO_USERS.some((id) => id >= first && id < first + count) ? { first, count } : undefined;
}

/** Files of the host, as text; empty if there is no such file. */
export interface UserFiles {
  /** /etc/subuid */
  subordinates: string;
  /** /etc/passwd */
  users: string;
}

/**
 * The range that the environment, or else /etc/subuid, has for root's machines.
 * @param word of the environment; absent: none
 * @returns why there is none, if what they have cannot be used
 */
export function chooseRange(word: string | undefined, { subordinates, users }: UserFiles): UserRange | string {
  const lines = subordinates.split('\n').map((line) => line.trim());
  const own = lines.find((line) => line.startsWith(`${NAME}:`))?.slice(NAME.length + 1);
  const [text, where] = word !== undefined ? [word, USERS_VARIABLE] : [own, `/etc/subuid, user ${NAME}`];
  const range = text === undefined ? DEFAULT : parseRange(text);
  if (range === undefined) return `${where} is ${JSON.stringify(text)}: use ${RANGE_FORM}`;
  const has = (id: number) => id >= range.first && id < range.first + range.count;
  for (const line of users.split('\n')) {
    const [name = '', , id = ''] = line.split(':');
    if (id !== '' && has(Number(id))) return `user ${id} is ${printable(name)}: set ${USERS_VARIABLE} to ${RANGE_FORM}`;
  }
  for (const line of lines) {
    const [name = '', first = '', count = ''] = line.split(':');
    const other = parseRange(`${first}:${count}`);
    if (name === NAME || other === undefined) continue;
    if (other.first < range.first + range.count && range.first < other.first + other.count) {
      const ids = `user IDs from ${Math.max(other.first, range.first)} are those of ${printable(name)} in /etc/subuid`;
      return `${ids}: set ${USERS_VARIABLE} to ${RANGE_FORM}`;
    }
  }
  return range;
}

/**
 * The range of this process's jails; a text that says why there is none; undefined for a user other
 * than root, whose jails are that user's.
 */
export function userRange(): UserRange | string | undefined {
  if (process.geteuid?.() !== 0) return undefined;
  const word = process.env[USERS_VARIABLE] ?? '';
  const files = { subordinates: readText('/etc/subuid'), users: readText('/etc/passwd') };
  return chooseRange(word === '' ? undefined : word, files);
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

function printable(name: string): string {
  return name.replace(/[^\x21-\x7e]+/g, '?');
}
