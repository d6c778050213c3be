// What a machine must keep between its guest and the host: the processor's own virtualization, or
// also QEMU's emulator, which its authors do not regard as a boundary of security, or User-Mode Linux,
// whose boundary is a process of the host.

import { hasCode, messageOf } from '../errors/index.js';
import { SandboxError } from './errors.js';

/**
 * - `default`: KVM if it is usable, else User-Mode Linux where its jail is complete, else the emulator.
 * - `vm`: KVM, or no machine.
 */
export type Isolation = 'default' | 'vm';
const ISOLATIONS: readonly Isolation[] = ['default', 'vm'];

type Accelerator = 'kvm' | 'tcg' | 'uml';

/** What is not the processor's own virtualization. */
const REFUSED: Partial<Record<string, string>> = { tcg: 'the emulator', uml: 'User-Mode Linux' };

/** The environment variable with the isolation of machines that have none. */
const VARIABLE = 'TSVM_ISOLATION';

/**
 * The accelerator of a machine.
 * @throws SandboxError `bad-spec` for an unknown word, `isolation` if what is asked for is refused
 */
export function acceleratorOf({
  accel = 'auto',
  isolation,
}: {
  accel?: Accelerator | 'auto';
  isolation?: Isolation;
}): Accelerator | 'auto' {
  if (isolationOf(isolation) !== 'vm') return accel;
  const refused = REFUSED[accel];
  if (refused !== undefined) {
    throw new SandboxError('isolation', `isolation vm refuses ${refused} (accelerator ${accel})`);
  }
  return 'kvm';
}

/** The error of a machine that did not start because isolation was asked for and KVM is not usable. */
export function explainIsolation(error: unknown, isolation: Isolation | undefined): unknown {
  if (isolationOf(isolation) !== 'vm' || !hasCode(error, 'no-kvm', 'kvm-permission', 'kvm-unusable')) return error;
  const message = `${messageOf(error)}: isolation vm needs it (see: tsvm doctor)`;
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
