// The levels of this project: a virtual machine for each container, with the jail of its machine
// process and without.
import { sourceFile } from '../../installation/index.js';
import { findProgram } from '../../programs/index.js';
import { Home } from '../../sandbox/index.js';
import { probeMachine } from '../../sandbox/internal.js';
import { type CommandLine, FOLDER, type Level, type Missing } from '../level.js';

/** The machine process, QEMU, and the kernel of User-Mode Linux. */
const FACES = /^\S*node \S*machine\.js |^\S*qemu-system-x86_64 |^\S+ mem=\d/;
/** The kernel of User-Mode Linux runs programs as processes that it traces. */
const TRACES = /^\S+ mem=\d/;
/** Makes the template from which later machines start. */
const PREPARES = /^\S*node \S*template\.js /;

type Machine = 'kvm' | 'tcg' | 'uml';

const SUMMARIES: Record<Machine, string> = {
  kvm: 'a microVM on KVM',
  tcg: "a microVM on QEMU's CPU emulator",
  uml: 'a kernel that is a process: User-Mode Linux',
};

async function missing(machine: Machine): Promise<Missing | undefined> {
  if (machine === 'tcg' && findProgram('qemu-system-x86_64') === undefined) {
    return { reason: 'QEMU is not installed', advice: 'apt-get install qemu-system-x86' };
  }
  if (machine !== 'kvm') return undefined;
  const { usable, reason } = await probeMachine();
  return usable ? undefined : { reason, advice: 'tsvm doctor' };
}

function machineLevel(machine: Machine, jail: boolean): Level {
  return {
    name: jail ? machine : `${machine}-nojail`,
    summary: `${SUMMARIES[machine]}${jail ? ', in a jail' : ', without a jail'}`,
    missing: () => missing(machine),
    async prepare({ image, memory, shared }) {
      const env = { ...process.env, TSVM_ACCEL: '', TSVM_JAIL: '', TSVM_ISOLATION: '' };
      const call = (...words: readonly string[]): CommandLine => {
        return { words: [process.execPath, sourceFile('bin/tsvm'), '--quiet', ...words], env };
      };
      const options = [
        '--rm',
        '--pull=never',
        `--accel=${machine}`,
        `--jail=${jail ? 'auto' : 'off'}`,
        `--memory=${memory}`,
        '--read-only',
        '--tmpfs=/tmp:exec,mode=1777',
        `--volume=${shared}:${FOLDER}`,
        '--user=0:0',
      ];
      const named = (id: string, [program = '', ...words]: readonly string[]) => {
        return [...options, `--name=${id}`, `--entrypoint=${program}`, image, ...words];
      };
      return {
        version: '',
        limitsMemory: true,
        faces: FACES,
        traces: TRACES,
        prepares: PREPARES,
        places: [new Home().containers.path],
        start: (id, command) => call('run', '--network=none', ...named(id, command)),
        connect(id, command, { enterHost, address, port }) {
          const { words, env } = call('run', `--allow-net=${address}:${port}`, ...named(id, command));
          return { words: [...enterHost, ...words], env };
        },
        exec: (id, _pid, command) => call('exec', '--user=0:0', id, ...command),
        remove: (id) => call('rm', '--force', id),
        async [Symbol.asyncDispose]() {},
      };
    },
  };
}

export const tsvmLevels: readonly Level[] = (['tcg', 'uml', 'kvm'] as const).flatMap((machine) =>
  [true, false].map((jail) => machineLevel(machine, jail)),
);
