// What a container gets at its start and no record has.
import type { GuardOptions } from '../../addresses/address-guard.js';
import { SandboxError } from '../errors.js';
import { checkEnvironment } from './process-spec.js';

/** Texts without NUL, 128 KiB of a variable and 1 MiB of a file at most. */
export interface Secrets {
  /** Variables of each of its processes. They win over other variables of the same names. */
  env?: Readonly<Record<string, string>>;
  /** Files of /run/secrets by their names, in the machine's memory: each user may read them. */
  files?: Readonly<Record<string, string>>;
  /**
   * Values that the container never has. A proxy outside of its machine puts them into headers of its
   * requests to hosts.
   */
  placeholders?: readonly Placeholder[];
  /** How the proxy reaches the hosts. */
  upstream?: Upstream;
  /** Where the proxy tells of the requests that it takes. Default: nowhere */
  audit?: Audit;
}

/** Lines of JSON at the end of a file: time, host, method, status, how many headers got a value. */
export interface Audit {
  /** An absolute path. */
  file: string;
  /** Further fields of each line. */
  about: Readonly<Record<string, string>>;
}

/**
 * What stands for a value in the container, which gets it as a variable, or a file, or otherwise.
 */
export interface Placeholder {
  /** 16 to 256 letters, digits, `_` and `-`, which nothing guesses. */
  token: string;
  /** Printable ASCII, 8 KiB at most. */
  value: string;
  /** Names of hosts whose requests get the value, in lower case. Ports 443 and, with `http`, 80. */
  hosts: readonly string[];
  /** Names of headers in which the token is replaced. Default: `Authorization` and `X-Api-Key`. */
  headers?: readonly string[] | undefined;
  /** If true, requests without TLS get the value too: whoever is on their way reads it. */
  http?: boolean | undefined;
}

/**
 * How the proxy of placeholders reaches the hosts: on the public Internet, with the roots of
 * Node.js.
 */
export interface Upstream extends GuardOptions {
  /** Certificates of further CAs, in PEM. */
  ca?: string | undefined;
}

export const DEFAULT_HEADERS = ['authorization', 'x-api-key'];
const MAX_VALUE = 8192;
/** A name of DNS that is no address, without a dot at its end. */
const HOST = /^(?=.{4,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const HEADER = /^[A-Za-z0-9-]{1,64}$/;
/** Of the connection, or of the proxy. */
const OTHER_HEADERS =
  /^(host|connection|keep-alive|transfer-encoding|content-length|te|trailer|upgrade|expect|proxy-.*)$/i;

/** @throws SandboxError `bad-spec`, which never quotes a value */
export function checkSecrets({ env = {}, files = {}, placeholders = [] }: Secrets): void {
  checkEnvironment(env);
  for (const name of Object.keys(files)) {
    if (!/^[^/\0]{1,255}$/.test(name) || name === '.' || name === '..') {
      throw new SandboxError('bad-spec', `invalid name of a file in /run/secrets: ${JSON.stringify(name)}`);
    }
  }
  for (const [name, value] of [...Object.entries(env), ...Object.entries(files)]) {
    if (value.includes('\0')) throw new SandboxError('bad-spec', `the secret ${name} has a NUL character`);
  }
  for (const placeholder of placeholders) checkPlaceholder(placeholder);
}

function checkPlaceholder({ token, value, hosts, headers = DEFAULT_HEADERS }: Placeholder): void {
  const fail = (why: string): never => {
    throw new SandboxError('bad-spec', `invalid placeholder of a secret: ${why}`);
  };
  if (!/^[\w-]{16,256}$/.test(token)) fail('16 to 256 letters, digits, _ and - are needed as its token');
  if (!isHeaderValue(value))
    fail(`the value cannot stand in a header: 1 to ${MAX_VALUE} printable characters of ASCII can`);
  const host = hosts.find((each) => !HOST.test(each));
  if (host !== undefined) fail(`${JSON.stringify(host)} is no name of a host, in lower case, with a dot`);
  if (hosts.length === 0) fail('a host is needed');
  const header = headers.find((each) => !HEADER.test(each) || OTHER_HEADERS.test(each));
  if (header !== undefined) fail(`${JSON.stringify(header)} is no header that may have a secret`);
}

/** True for what a header may have as, or in, its value: the proxy puts it there as it is. */
export function isHeaderValue(value: string): boolean {
  return /^[\x20-\x7e]+$/.test(value) && value.length <= MAX_VALUE;
}
