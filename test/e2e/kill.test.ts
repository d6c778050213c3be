// A run that is killed at any moment leaves nothing that disturbs later runs.
import { describe, expect, test } from 'vitest';
import { DEBIAN, isLab, isUml, machines, run, TSVM } from './machine.js';

/** Runs at once: the host has two CPUs. */
const AT_ONCE = 2;

/**
 * Starts a run, kills its CLI, its machine process, its companion (QEMU or User-Mode Linux) or the
 * launcher of one of these at a random moment, and waits until all have ended. The moment is within
 * `$WITHIN` seconds from the start of the CLI, or from the first moment at which the victim exists.
 * Prints the victim, the exit code, and the run's stderr.
 */
const KILL_ONE = `
  "$TSVM" run --rm ${DEBIAN} sleep 1000 2> "$XDG_RUNTIME_DIR/stderr.$1" &
  cli=$!
  find_all() {
    for each in $(pgrep -P "$cli" tsvm-jail); do
      # Only the launcher of a companion waits for its start.
      if grep -qzxe --start "/proc/$each/cmdline"; then
        if child=$(pgrep -P "$each" 'qemu|vmlinux|kernel|tsvm-jail'); then companion=$each emulator=$child; fi
      elif child=$(pgrep -P "$each" node); then launcher=$each machine=$child; fi
    done
  }
  case $(($1 % 5)) in
    0) victim=launcher;;
    1) victim=machine;;
    2) victim=cli;;
    # On KVM, QEMU may have been made ready and is not missed.
    3) victim=\${COMPANION:+companion};;
    4) victim=\${COMPANION:+emulator};;
  esac
  victim=\${victim:-cli}
  until [ -n "\${!victim}" ] || ! kill -0 "$cli"; do sleep 0.1; find_all; done
  sleep "$((RANDOM % WITHIN)).$((RANDOM % 10))"
  find_all
  kill -9 "\${!victim}"
  wait "$cli"; code=$?
  for pid in $launcher $machine $companion $emulator; do
    for _ in $(seq 600); do kill -0 "$pid" || break; sleep 0.1; done 2>/dev/null
    ! kill -0 "$pid" 2>/dev/null || victim="left $victim"
  done
  echo "$victim $code $(cat "$XDG_RUNTIME_DIR/stderr.$1")"
`;

describe.each(machines)('on $name', (machine) => {
  const companion = isUml(machine) ? 'User-Mode Linux' : 'QEMU';
  const hasCompanion = isUml(machine) || machine.name.endsWith('tcg');
  // `within` is in seconds: a start takes about two, and ten in the lab.
  const [kills, within] = isLab(machine) ? [8, 12] : [20, 4];

  test(`after ${kills} kills of CLI, machine process, companion or their launchers at random moments, the next run works and nothing is left`, async () => {
    const env = {
      // Another run of this test may go on at once.
      ...{ TSVM, KILL_ONE, WITHIN: String(within), XDG_RUNTIME_DIR: `/tmp/tsvm-kill-${process.pid}` },
      COMPANION: hasCompanion ? '1' : '',
    };
    const script = `
      mkdir -m 700 "$XDG_RUNTIME_DIR"
      seq ${kills} | xargs -P ${AT_ONCE} -I{} bash -c "$KILL_ONE" kill {}
      "$TSVM" run --rm ${DEBIAN} echo fine
      ls "$XDG_RUNTIME_DIR/tsvm" && rm -r "$XDG_RUNTIME_DIR"`;
    const { code, stdout } = await run(machine, ['bash', '-c', script], { env });
    expect(code).toBe(0);
    const lines = stdout.trimEnd().split('\n');
    // The lock of the folder of sockets stays.
    expect(lines.splice(-2)).toEqual(['fine', 'lock']);
    expect(lines, stdout).toHaveLength(kills);
    for (const line of lines) {
      expect(line).toMatch(
        new RegExp(
          `^(cli 137 |(machine|launcher) 125 tsvm: the machine process died \\(SIGKILL\\)|(emulator|companion) 125 tsvm: ${companion} ended \\(signal 9\\))$`,
        ),
      );
    }
    const emulators = hasCompanion ? ['emulator', 'companion'] : [];
    const victims = new Set(lines.map((line) => line.split(' ')[0]));
    expect(victims).toEqual(new Set(['cli', 'machine', 'launcher', ...emulators]));
  }, 600_000);
});
