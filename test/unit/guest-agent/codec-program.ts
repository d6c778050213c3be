// The agent's parsers, built for this machine with AddressSanitizer and UndefinedBehaviorSanitizer.
import { execFileSync } from 'node:child_process';
import { buildSanitized } from './sanitized.js';

const PROTOCOL = ['frame.c', 'request.c', 'rules.c', 'failure.c'];
const SOURCES = [...PROTOCOL.map((name) => `protocol/${name}`), 'process/user.c'];

/** Builds the program of codec.c and returns its path. */
export function buildCodec(directory: string): string {
  return buildSanitized(directory, 'codec.c', SOURCES);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function lines(program: string, mode: string, input: Buffer): unknown[] {
  const output = execFileSync(program, [mode], { input, maxBuffer: 2 ** 30, stdio: ['pipe', 'pipe', 'inherit'] });
  const text = output.toString('utf8').trimEnd();
  return text === '' ? [] : text.split('\n').map((line) => JSON.parse(line));
}

export interface FrameCase {
  bytes: Buffer;
  /** The agent gets the bytes in pieces of this size. */
  chunk: number;
}

export type Understood = { type: string; request: number; kind?: number; message?: string } & Record<string, unknown>;

/**
 * What the agent decodes from each case, each on its own connection: requests and errors, in order.
 */
export function understand(program: string, cases: FrameCase[]): Understood[][] {
  const input = Buffer.concat(cases.flatMap(({ bytes, chunk }) => [u32(chunk), u32(bytes.length), bytes]));
  return lines(program, 'frames', input) as Understood[][];
}

export interface UserCase {
  passwd: Buffer;
  group: Buffer;
  user: string;
  /** One more group. Empty: none. */
  more: string;
}

export type FoundUser =
  | { uid: number; gid: number; groups: number[]; home: string }
  | { kind: number; message: string };

/** What the agent finds in each case. */
export function findUsers(program: string, cases: UserCase[]): FoundUser[] {
  const input = cases.flatMap(({ passwd, group, user, more }) =>
    [passwd, group, Buffer.from(user), Buffer.from(more)].flatMap((bytes) => [u32(bytes.length), bytes]),
  );
  return lines(program, 'users', Buffer.concat(input)) as FoundUser[];
}

/** A frame written by the agent. */
export function encodeByAgent(program: string, args: (string | number)[]): Buffer {
  return execFileSync(program, args.map(String), { stdio: ['ignore', 'pipe', 'inherit'] });
}
