// What a machine must keep between its guest and the host: the processor's own virtualization, or
// also QEMU's emulator, which its authors do not regard as a boundary of security.
import { hasCode, messageOf } from '../errors/index.js';
import { SandboxError } from './errors.js';

/**
 * - `default`: KVM if it is usable, else the emulator.
 * - `vm`: KVM, or no machine.
 */
export type Isolation = 'default' | 'vm';
const ISOLATIONS: readonly Isolation[] = ['default', 'vm'];

/** The environment variable with the isolation of machines that have none. */
const VARIABLE = 'TSVM_ISOLATION';

/**
 * The accelerator of a machine.
 * @throws SandboxError `bad-spec` for an unknown word, `isolation` if the emulator is asked for and
 *   refused
 */
export function acceleratorOf({
  accel = 'auto',
  isolation,
}: {
  accel?: 'auto' | 'kvm' | 'tcg';
  isolation?: Isolation;
}): 'auto' | 'kvm' | 'tcg' {
  if (isolationOf(isolation) !== 'vm') return accel;
  if (accel === 'tcg') throw new SandboxError('isolation', 'isolation vm refuses the emulator (accelerator tcg)');
  return 'kvm';
}

/** The error of a machine that did not start because isolation was asked for and KVM is not usable. */
export function explainIsolation(error: unknown, isolation: Isolation | undefined): unknown {
  if (isolationOf(isolation) !== 'vm' || !hasCode(error, 'no-kvm', 'kvm-permission', 'kvm-unusable')) return error;
  const message = `${messageOf(error)}: isolation vm refuses the emulator (see: tsvm doctor)`;
  return new SandboxError('isolation', message, { cause: error });
}

function isolationOf(word: string | undefined): Isolation {
  const environment = process.env[VARIABLE] ?? '';
  if (word !== undefined) return parse(word, 'isolation');
  return environment === '' ? 'default' : parse(environment, VARIABLE);
}

function parse(word: string, what: string): Isolation {
  const isolation = ISOLATIONS.find((each) => each === word);
  if (isolation !== undefined) return isolation;
  throw new SandboxError('bad-spec', `${what} is ${JSON.stringify(word)}: use ${ISOLATIONS.join(' or ')}`);
}
