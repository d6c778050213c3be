// How much of the memory that a guest fills and frees returns to the host, and how soon.
import { setTimeout as sleep } from 'node:timers/promises';
import { Conversation } from './conversation.js';
import { type Benchmark, Samples } from './measurement.js';
import { guestResident } from './proc.js';

const MIB = 200;
/**
 * Milliseconds to wait at most. The guest's kernel reports free pages two seconds after they were
 * freed, and repeats that until none are left.
 */
const PATIENCE = 30_000;
const POLL = 100;
/** The part of the freed memory whose return is timed. */
const MOST = 0.9;

const SCRIPT = `trap 'exit 0' TERM; echo up; read go
head -c ${MIB * 2 ** 20} /dev/zero > /fill/file; echo filled; read go
rm /fill/file; echo freed; read go`;

async function measureOnce(samples: Samples, accel: string, image: string): Promise<void> {
  const options = ['--accel', accel, '-m', '512m', '--tmpfs', '/fill:size=300m'];
  await using guest = new Conversation(options, image, SCRIPT);
  await guest.hear();
  // By then the guest has also reported pages that it never used. They take no host memory.
  await sleep(3000);
  const { machine } = guest;
  const before = guestResident(machine);
  guest.say('fill');
  await guest.hear();
  const filled = guestResident(machine);
  guest.say('free');
  await guest.hear();
  const freed = performance.now();
  let most: number | undefined;
  let least = filled;
  while (most === undefined && performance.now() - freed < PATIENCE) {
    await sleep(POLL);
    least = Math.min(least, guestResident(machine));
    if (filled - least >= MOST * (filled - before)) most = performance.now() - freed;
  }
  samples.add('before', 'MiB', before);
  samples.add(`after ${MIB} MiB were filled`, 'MiB', filled);
  samples.add('after they were freed', 'MiB', least);
  samples.add('returned / taken', 'ratio', (filled - least) / (filled - before));
  if (most !== undefined) samples.add(`until ${MOST * 100} % were returned`, 'ms', most);
}

function benchmark(name: string, accel: 'kvm' | 'tcg'): Benchmark {
  return {
    name,
    title: `Memory that the host has back when a guest frees ${MIB} MiB (--accel ${accel})`,
    needsKvm: accel === 'kvm',
    async measure({ runs, image }) {
      const samples = new Samples();
      for (let run = 0; run < runs; run++) await measureOnce(samples, accel, image);
      return samples.measurements();
    },
  };
}

export const memoryReturned = benchmark('memory-returned', 'kvm');
export const emulatedMemoryReturned = benchmark('emulated-memory-returned', 'tcg');
