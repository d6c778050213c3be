// The credentials in Docker's ~/.docker/config.json (docker/cli, cli/config/configfile). A login
// keeps all other fields of the file unchanged.

import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, realpathSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { hasCode, messageOf } from '../../errors/index.js';
import { readUserFile } from '../../user-files/index.js';
import { ImageError } from '../errors.js';
import { type Json, object, optionalObject, string, stringMap } from '../source/json.js';

/** A name and a password, or a token in their place. */
export type Credentials =
  | { kind: 'password'; username: string; password: string }
  /** Exchanged for access tokens (OAuth 2's refresh token). */
  | { kind: 'identity-token'; token: string }
  /** Sent to the registry unchanged. */
  | { kind: 'registry-token'; token: string };

export interface DockerConfig {
  /** By the server's name as spelled in the file. Null if the entry is empty: a helper has them. */
  auths: Map<string, Credentials | null>;
  /** `X` of the program `docker-credential-X` that stores all credentials, or ''. */
  credsStore: string;
  /** The helper of a single server, by the server's name. Overrides `credsStore`. */
  credHelpers: Record<string, string>;
}

/** `$DOCKER_CONFIG/config.json`, or `~/.docker/config.json`. */
export function dockerConfigPath(): string {
  return join(process.env.DOCKER_CONFIG || join(homedir(), '.docker'), 'config.json');
}

/**
 * Reads the file. A missing file counts as an empty one.
 *
 * @throws ImageError `bad-settings`
 */
export function readDockerConfig(path: string): DockerConfig {
  return parseDockerConfig(readJson(path), path);
}

/** @throws ImageError `bad-settings` */
export function parseDockerConfig(json: unknown, path: string): DockerConfig {
  try {
    const config = object(json, 'it');
    const auths = new Map<string, Credentials | null>();
    for (const [server, entry] of Object.entries(optionalObject(config.auths, 'auths'))) {
      auths.set(server, parseEntry(optionalObject(entry, `the entry of ${server}`), server));
    }
    return {
      auths,
      credsStore: string(config.credsStore, 'credsStore'),
      credHelpers: stringMap(config.credHelpers, 'credHelpers'),
    };
  } catch (cause) {
    throw new ImageError('bad-settings', `cannot understand ${path}: ${messageOf(cause)}`, { cause });
  }
}

function parseEntry(entry: Json, server: string): Credentials | null {
  const field = (name: string) => string(entry[name], `${name} of ${server}`);
  const identityToken = field('identitytoken');
  if (identityToken !== '') return { kind: 'identity-token', token: identityToken };
  const registryToken = field('registrytoken');
  if (registryToken !== '') return { kind: 'registry-token', token: registryToken };
  const auth = field('auth');
  if (auth === '') {
    const username = field('username');
    return username === '' ? null : { kind: 'password', username, password: field('password') };
  }
  const text = Buffer.from(auth, 'base64').toString('utf8');
  const colon = text.indexOf(':');
  if (colon < 1) throw new ImageError('bad-settings', `auth of ${server} is not NAME:PASSWORD in base64`);
  // Docker pads passwords with NULs.
  return { kind: 'password', username: text.slice(0, colon), password: text.slice(colon + 1).replace(/\0+$/, '') };
}

/**
 * Replaces all entries of one server.
 *
 * @param isSame returns true for the key of an entry of this server
 * @param credentials null removes the entry; `'in-helper'` records that a helper has them
 * @throws ImageError `bad-settings`, `no-permission`, `no-space`, `io`
 */
export function changeDockerConfig(
  path: string,
  server: string,
  isSame: (other: string) => boolean,
  credentials: Credentials | null | 'in-helper',
): void {
  const config = object(readJson(path), path);
  const auths = optionalObject(config.auths, 'auths');
  const kept = Object.entries(auths).filter(([other]) => !isSame(other));
  if (credentials !== null) kept.push([server, credentials === 'in-helper' ? {} : entryOf(credentials)]);
  config.auths = Object.fromEntries(kept);
  write(path, `${JSON.stringify(config, null, '\t')}\n`);
}

function entryOf(credentials: Credentials): Json {
  switch (credentials.kind) {
    case 'password':
      return { auth: Buffer.from(`${credentials.username}:${credentials.password}`).toString('base64') };
    case 'identity-token':
      return { identitytoken: credentials.token };
    case 'registry-token':
      return { registrytoken: credentials.token };
  }
}

function readJson(path: string): unknown {
  let text: string;
  try {
    text = readUserFile(path).toString();
  } catch (cause) {
    if (hasCode(cause, 'ENOENT')) return {};
    throw new ImageError('bad-settings', `cannot read ${path}: ${messageOf(cause)}`, { cause });
  }
  if (text.trim() === '') return {};
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ImageError('bad-settings', `${path} is not JSON`, { cause });
  }
}

/**
 * Replaces the file atomically; if it is a symbolic link, its target. A new file has mode 0600, an
 * existing one keeps its mode.
 */
function write(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const mode = statSync(path, { throwIfNoEntry: false })?.mode;
  const target = mode === undefined ? path : realpathSync(path);
  const aside = `${target}.${randomBytes(6).toString('hex')}`;
  try {
    writeFileSync(aside, text, { flag: 'wx', mode: 0o600, flush: true });
    if (mode !== undefined) chmodSync(aside, mode & 0o777);
    renameSync(aside, target);
  } catch (error) {
    rmSync(aside, { force: true });
    throw error;
  }
}
