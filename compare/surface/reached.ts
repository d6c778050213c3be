// The functions of the host's kernel that processes reach, by its function tracer.
import { spawn } from 'node:child_process';
import { messageOf } from '../../errors/index.js';
import { builtFile } from '../../installation/index.js';
import { CompareError } from '../errors.js';
import { saysReady } from '../ready.js';

/** Milliseconds that the tracer has to begin: the kernel changes each of its functions. */
const PATIENCE = 60_000;

/** Traces while it is open. */
export interface Tracing {
  /**
   * Ends the tracing. The names are sorted.
   * @throws CompareError `level` if entries were lost
   */
  end(): Promise<string[]>;
}

/**
 * What an interrupt calls before the kernel counts it as one, and after. An interrupt may come at any
 * function of any process.
 */
const INTERRUPTS = /^(sysvec_|common_interrupt|irq_enter|irq_exit|__irq_exit|irqentry_|tick_irq_|(__)?do_softirq)/;

/**
 * @param id that no other tracing has
 * @throws CompareError `level`; the reason of `signal`. The tracing ends in its own time: the kernel keeps what
 *   a killed tracer has changed
 */
export async function traceFunctions(id: string, threads: readonly number[], signal: AbortSignal): Promise<Tracing> {
  signal.throwIfAborted();
  const tracer = spawn(builtFile('tsvm-gauge'), ['reached', id, ...threads.map(String)], {
    // The tracer ends with its input, which is with this process.
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
  });
  let [stdout, stderr] = ['', ''];
  tracer.stdin.on('error', () => {});
  tracer.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk;
  });
  const closed = new Promise<number | null>((resolve) => {
    tracer.once('close', resolve);
    tracer.once('error', () => resolve(null));
  });
  const begun = await saysReady(
    tracer,
    tracer.stdout,
    (part) => {
      stdout += part;
      return stdout.startsWith('ready\n');
    },
    PATIENCE,
    signal,
  );
  const end = async () => {
    tracer.stdin.end();
    const timer = setTimeout(() => tracer.kill('SIGKILL'), PATIENCE);
    const code = await closed;
    clearTimeout(timer);
    return code;
  };
  if (!begun) {
    await end();
    signal.throwIfAborted();
    throw new CompareError('level', stderr.trim().replace(/^tsvm-gauge: /, '') || 'the function tracer has not begun');
  }
  return {
    async end() {
      if ((await end()) !== 0) throw new CompareError('level', stderr.trim() || 'the function tracer has failed');
      return parseReached(stdout);
    },
  };
}

/** Returns why this host does not let its functions be traced. @throws the reason of `signal` */
export async function whyUntraceable(id: string, signal: AbortSignal): Promise<string | undefined> {
  if (process.geteuid?.() !== 0) return 'root alone may trace them: run tsvm compare as root';
  try {
    await (await traceFunctions(id, [process.pid], signal)).end();
    return undefined;
  } catch (error) {
    signal.throwIfAborted();
    return messageOf(error);
  }
}

/**
 * @throws CompareError `level` if entries were lost: then a function may be missing; or if there is none:
 * the tracer knows processes by their numbers in the first PID namespace
 */
export function parseReached(text: string): string[] {
  const [, lost, ...names] = text.trimEnd().split('\n');
  if (lost !== 'lost 0') throw new CompareError('level', `the function tracer has ${lost || 'said nothing'}`);
  const found = [...new Set(names.filter((name) => name !== '' && !INTERRUPTS.test(name)))].sort();
  if (found.length === 0) throw new CompareError('level', 'the function tracer has seen no function');
  return found;
}
