// Connects to a TCP port of a container, by a tool of the agent: it needs no network of the
// machine, and no port of the host.
import { Duplex, PassThrough, Writable } from 'node:stream';
import { SandboxError } from '../errors.js';
import type { ContainerFolder } from '../home/container-folder.js';
import { randomNumber } from '../random-number.js';
import { execProcess } from './exec.js';

const SIGKILL = 9;
const MAX_PORT = 65_535;

/**
 * Connects to a port of the container's loopback addresses. The stream ends when the other side has
 * ended, and breaks off with a SandboxError: `tool` if nothing listens there or the connection failed.
 * @param signal ends the start
 * @throws SandboxError `bad-spec`, `not-running`, `unresponsive`, `agent`; the reason of `signal`
 */
export async function connectPort(folder: ContainerFolder, port: number, signal?: AbortSignal): Promise<Duplex> {
  if (!Number.isInteger(port) || port < 1 || port > MAX_PORT) {
    throw new SandboxError('bad-spec', `invalid port: ${port}`);
  }
  const [input, output] = [new PassThrough(), new PassThrough()];
  const tool = await execProcess(
    folder,
    { id: randomNumber(1, 2 ** 32), argv: ['connect', String(port)], tool: true, stdin: true },
    { stdin: input, stdout: output, stderr: new Writable({ write: (_chunk, _encoding, done) => done() }) },
    { signal },
  );
  const connection = Duplex.from({ writable: input, readable: output });
  // Its owner may have left.
  connection.on('error', () => {});
  // It takes nothing more then.
  connection.once('end', () => connection.destroy());
  connection.once('close', () => {
    tool.signal(SIGKILL);
    tool.abandon();
  });
  tool.exit.then(
    (code) => {
      if (code === 0) output.end();
      else connection.destroy(new SandboxError('tool', `port ${port}: nothing listens, or the connection failed`));
    },
    (error: Error) => connection.destroy(error),
  );
  return connection;
}
