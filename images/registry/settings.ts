// The file of registry settings: for each registry its mirrors, its certificates, its timeout, and
// whether plain HTTP is allowed.

import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { hasCode, messageOf } from '../../errors/index.js';
import { readUserFile } from '../../user-files/index.js';
import { ImageError } from '../errors.js';
import { canonicalHost } from './host.js';

interface RegistrySettings {
  /** Base URLs that are tried before the registry, in order. */
  mirrors: URL[];
  /** If true, the certificate is not checked, and plain HTTP is allowed. */
  insecure: boolean;
  /** If true, any server may lead to this one, however near it is to this host. */
  internal: boolean;
  /** Path of PEM certificates to trust in addition to the system's, or null. */
  ca: string | null;
  /** Milliseconds without a byte after which a connection fails. */
  timeout: number;
}

export interface Settings {
  /** @param host `HOST[:PORT]`, as spelled in a reference */
  of(host: string): RegistrySettings;
}

/** Milliseconds. */
const DEFAULT_TIMEOUT = 30_000;
const MAX_TIMEOUT_SECONDS = 3600;
const SYSTEM_FILE = '/etc/tsvm/registries.json';
const DEFAULTS: RegistrySettings = {
  mirrors: [],
  insecure: false,
  internal: false,
  ca: null,
  timeout: DEFAULT_TIMEOUT,
};

/**
 * Reads the first of these files that exists; `$TSVM_REGISTRIES` must exist if it is set:
 * - `$TSVM_REGISTRIES`
 * - `$XDG_CONFIG_HOME/tsvm/registries.json`
 * - `/etc/tsvm/registries.json`
 *
 * @throws ImageError `bad-settings`
 */
export function readSettings(): Settings {
  const { TSVM_REGISTRIES, XDG_CONFIG_HOME } = process.env;
  if (TSVM_REGISTRIES) return parseSettings(read(TSVM_REGISTRIES), TSVM_REGISTRIES);
  for (const path of [join(XDG_CONFIG_HOME || join(homedir(), '.config'), 'tsvm/registries.json'), SYSTEM_FILE]) {
    try {
      return parseSettings(read(path), path);
    } catch (error) {
      if (!(error instanceof Error) || !hasCode(error.cause, 'ENOENT')) throw error;
    }
  }
  return { of: () => DEFAULTS };
}

function read(path: string): string {
  try {
    return readUserFile(path).toString();
  } catch (cause) {
    throw new ImageError('bad-settings', `cannot read ${path}: ${messageOf(cause)}`, { cause });
  }
}

/**
 * Parses the settings that docs/registries.md describes.
 *
 * @param path the file's path. Paths in the file are relative to its folder.
 * @throws ImageError `bad-settings`
 */
export function parseSettings(text: string, path: string): Settings {
  const fail = (what: string): never => {
    throw new ImageError('bad-settings', `${path}: ${what}`);
  };
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new ImageError('bad-settings', `${path} is not JSON: ${messageOf(cause)}`, { cause });
  }
  const registries = new Map<string, RegistrySettings>();
  for (const [host, value] of Object.entries(asObject(json) ?? fail('expected an object'))) {
    const fields = asObject(value) ?? fail(`'${host}' is not an object`);
    const settings = { ...DEFAULTS };
    for (const [name, field] of Object.entries(fields)) {
      const wrong = (wanted: string) => fail(`'${name}' of '${host}': expected ${wanted}`);
      if (name === 'mirrors') {
        const list: unknown[] = Array.isArray(field) ? field : wrong('a list of URLs');
        settings.mirrors = list.map((item) => mirrorUrl(item) ?? wrong('a list of http or https URLs'));
      } else if (name === 'insecure' || name === 'internal') {
        settings[name] = typeof field === 'boolean' ? field : wrong('true or false');
      } else if (name === 'ca') {
        settings.ca = typeof field === 'string' ? resolve(dirname(path), field) : wrong('a file');
      } else if (name === 'timeout') {
        const inRange = typeof field === 'number' && field > 0 && field <= MAX_TIMEOUT_SECONDS;
        settings.timeout = inRange ? field * 1000 : wrong(`a number of seconds up to ${MAX_TIMEOUT_SECONDS}`);
      } else {
        fail(`'${name}' of '${host}' is unknown: expected mirrors, insecure, internal, ca or timeout`);
      }
    }
    registries.set(canonicalHost(host), settings);
  }
  return { of: (host) => registries.get(canonicalHost(host)) ?? DEFAULTS };
}

function asObject(value: unknown): object | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : null;
}

function mirrorUrl(value: unknown): URL | null {
  if (typeof value !== 'string' || !URL.canParse(value)) return null;
  const url = new URL(value);
  const bare = !(url.username || url.password || url.search || url.hash);
  return bare && /^https?:$/.test(url.protocol) ? url : null;
}
