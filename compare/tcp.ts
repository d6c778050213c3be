// TCP between a sandbox and the host: a sandbox of its own, because all others have no network.
import { messageOf } from '../errors/index.js';
import { CompareError } from './errors.js';
import { GAUGE, type PreparedLevel } from './level.js';
import { type Measure, TCP_OPERATIONS } from './measures.js';
import { openNetwork } from './network.js';
import { readTurn } from './round.js';
import { end, startIdling } from './running.js';

/** Milliseconds that the sandbox has to measure. */
const PATIENCE = 60_000;

export interface TcpOptions {
  /** The id of the sandbox, which no other has. */
  id: string;
  /** Milliseconds that each operation is repeated for, at least. */
  time: number;
  signal: AbortSignal;
  onSample(measure: Measure, value: number): void;
  /** A measure has no value here. */
  onNone(measure: Measure, reason: string): void;
}

/** @throws the reason of `signal`. What fails beside it is told by `onNone`. */
export async function measureTcp(level: PreparedLevel, options: TcpOptions): Promise<void> {
  const { id, time, signal, onSample, onNone } = options;
  if (level.connect === undefined) {
    for (const measure of TCP_OPERATIONS) onNone(measure, 'the level has no network here');
    return;
  }
  try {
    await using network = await openNetwork(signal);
    const names = TCP_OPERATIONS.map(({ name }) => name);
    const words = [GAUGE, 'tcp', String(time), network.address, String(network.port), ...names];
    await using idling = await startIdling(level.connect(id, words, network), signal, level.remove?.(id));
    const said = await idling.says('done\n', PATIENCE, signal);
    for (const operation of TCP_OPERATIONS) {
      try {
        onSample(operation, readTurn(said, operation) * operation.scale);
      } catch (error) {
        onNone(operation, messageOf(error));
      }
    }
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof CompareError)) throw error;
    for (const measure of TCP_OPERATIONS) onNone(measure, messageOf(error));
  } finally {
    await end(level, id);
  }
}
