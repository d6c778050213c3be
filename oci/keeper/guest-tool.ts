// Asks a tool of the agent (guest-agent/PROTOCOL.md, "Tools"). The guest is hostile: its answer may be long,
// or never end.
import { Writable } from 'node:stream';
import { GatheredBytes } from '../../bytes/index.js';
import { ProcessIo } from '../../sandbox/agent/process-io.js';
import { REQUEST_TIMEOUT } from '../../sandbox/agent/responsiveness.js';
import { SandboxError } from '../../sandbox/errors.js';
import type { GuestContainer } from '../../sandbox/run/guest-container.js';

/** Bytes. */
const MAX_ANSWER = 256 * 1024;
const MAX_COMPLAINT = 4096;
const SIGKILL = 9;

/**
 * Runs a tool to its end.
 * @param id of a process that was never used
 * @param onFailed called before a failure is told. Given: the session waits for a late guest, too.
 *   `ended` resolves once the tool does nothing any more: it has ended or will never run
 * @returns its answer
 * @throws SandboxError `tool` with the tool's message; `output`, `unresponsive`; what ended the machine
 */
export async function askTool(
  container: GuestContainer,
  id: number,
  argv: string[],
  onFailed?: (ended: Promise<void>) => void,
): Promise<Buffer> {
  const timeout = onFailed && Number.POSITIVE_INFINITY;
  const tool = container.start({ id, argv, tool: true }, { ...(timeout && { timeout }) });
  const [answer, complaint] = [new Gathering(MAX_ANSWER), new Gathering(MAX_COMPLAINT)];
  const io = new ProcessIo({ stdout: answer, stderr: complaint }, { onBrokenPipe: () => {}, onWriteError: () => {} });
  const output = io.connect((name) => tool.stream(name), { terminal: false, stdin: false });
  output.catch(() => {});
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new SandboxError('unresponsive', tooLate())), REQUEST_TIMEOUT);
  });
  const exit = tool.started().then(() => tool.exited());
  const ends = async () => {
    const { code } = await exit;
    await output;
    return code;
  };
  let ended: Promise<void> = Promise.resolve();
  try {
    const code = await Promise.race([ends(), late]);
    if (answer.isFull) throw new SandboxError('output', "the guest's answer is too long");
    if (code === 0) return answer.bytes;
    // The guest wrote the message, and it is shown on a terminal.
    const line = complaint.bytes
      .toString()
      .trim()
      .replace(/[^\x20-\x7e]+/g, ' ');
    throw new SandboxError('tool', line || `the guest's tool ended with code ${code}`);
  } catch (error) {
    tool.signal(SIGKILL);
    if (onFailed !== undefined) {
      ended = exit.then(
        () => {},
        () => {},
      );
      onFailed(ended);
    }
    throw error;
  } finally {
    clearTimeout(timer);
    void ended.then(() => tool.forget());
  }
}

function tooLate(): string {
  return `the guest has not answered in ${REQUEST_TIMEOUT / 1000} s`;
}

/** Keeps the first bytes. */
class Gathering extends Writable {
  readonly #gathered = new GatheredBytes();
  isFull = false;

  constructor(private readonly most: number) {
    super();
  }

  get bytes(): Buffer {
    return this.#gathered.bytes;
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.isFull ||= this.#gathered.length + chunk.length > this.most;
    if (!this.isFull) this.#gathered.add(chunk);
    done();
  }
}
