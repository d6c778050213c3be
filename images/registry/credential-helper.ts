// Runs docker-credential-X programs, which store credentials in the system's keychain
// (docker-credential-helpers). The argument is the action. Standard input is JSON or a server's
// name; standard output is JSON.

import { execa } from 'execa';
import { messageOf } from '../../errors/index.js';
import { ImageError } from '../errors.js';
import { object, parseJson, string } from '../source/json.js';
import type { Credentials } from './docker-config.js';
import { oneLine } from './one-line.js';

/** Maximum characters of an answer. */
const MAX_ANSWER = 1 << 20;
/** Milliseconds. A helper may prompt the user. */
const PATIENCE = 120_000;
/** The user name by which a helper marks its secret as an identity token. */
const TOKEN_USER = '<token>';
const NOT_FOUND = 'credentials not found in native keychain';

/**
 * Asks a helper for a server's credentials.
 *
 * @param helper `X` of `docker-credential-X`
 * @returns null if it has none
 * @throws ImageError `bad-settings` if the program is missing or fails
 */
export async function helperGet(helper: string, server: string): Promise<Credentials | null> {
  const answer = await run(helper, 'get', server);
  return answer === null ? null : parseHelperAnswer(answer, helper);
}

/** @throws ImageError `bad-settings` */
export function parseHelperAnswer(answer: string, helper: string): Credentials | null {
  try {
    const json = object(parseJson(Buffer.from(answer), 'its answer'), 'its answer');
    const username = string(json.Username, 'Username');
    const secret = string(json.Secret, 'Secret');
    if (username === '' && secret === '') return null;
    if (username === TOKEN_USER) return { kind: 'identity-token', token: secret };
    return { kind: 'password', username, password: secret };
  } catch (cause) {
    throw failure(helper, messageOf(cause), cause);
  }
}

/** Stores credentials in a helper. @throws ImageError `bad-settings` */
export async function helperStore(helper: string, server: string, credentials: Credentials): Promise<void> {
  const [username, secret] =
    credentials.kind === 'password' ? [credentials.username, credentials.password] : [TOKEN_USER, credentials.token];
  await run(helper, 'store', JSON.stringify({ ServerURL: server, Username: username, Secret: secret }));
}

/** Erases a server's credentials from a helper. @throws ImageError `bad-settings` */
export async function helperErase(helper: string, server: string): Promise<void> {
  await run(helper, 'erase', server);
}

/** Returns what the helper prints, or null if it has no credentials for the server. */
async function run(helper: string, action: string, input: string): Promise<string | null> {
  if (!/^[A-Za-z0-9._-]+$/.test(helper))
    throw failure(helper, 'its name may only have letters, digits and ._-', undefined);
  const result = await execa(`docker-credential-${helper}`, [action], {
    input,
    reject: false,
    timeout: PATIENCE,
    maxBuffer: MAX_ANSWER,
    stripFinalNewline: true,
  });
  if (!result.failed) return result.stdout;
  if (result.stdout.trim() === NOT_FOUND) return null;
  if (result.code === 'ENOENT') throw failure(helper, 'it is not in $PATH', result.cause);
  if (result.timedOut) throw failure(helper, 'it did not answer', result.cause);
  const said = oneLine(result.stdout) || oneLine(result.stderr);
  throw failure(helper, said || oneLine(result.shortMessage), result.cause);
}

function failure(helper: string, why: string, cause: unknown): ImageError {
  return new ImageError('bad-settings', `the credential helper docker-credential-${oneLine(helper)} failed: ${why}`, {
    cause,
  });
}
