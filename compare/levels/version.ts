// What a program says of its version.
import { run } from '../running.js';

/** Milliseconds that it has to say so. */
const PATIENCE = 10_000;

/** The first line, or ''. @throws the reason of `signal` */
export async function versionOf(path: string, signal: AbortSignal): Promise<string> {
  try {
    const { code, stdout } = await run({ words: [path, '--version'], env: process.env, patience: PATIENCE }, signal);
    return code === 0 ? (stdout.split('\n')[0] ?? '') : '';
  } catch {
    signal.throwIfAborted();
    return '';
  }
}
