import { describe, expect, test } from 'vitest';
import { DEBIAN, machines, run, TSVM } from './machine.js';

const KILLS = 20;
/** How many are done at once: the machine has two processors. */
const AT_ONCE = 2;

/**
 * Starts a run, kills its CLI or its machine process at a random moment, and waits for both to be gone. Prints
 * `cli CODE` or `machine CODE`, and what was said to stderr.
 */
const KILL_ONE = `
  "$TSVM" run --rm ${DEBIAN} sleep 1000 2> "$XDG_RUNTIME_DIR/stderr.$1" &
  cli=$!
  sleep "$((RANDOM % 12)).$((RANDOM % 10))"
  machine=$(pgrep -P "$cli" node)
  if [ -n "$machine" ] && [ "$(($1 % 2))" = 0 ]; then victim=machine; kill -9 "$machine"; else victim=cli; kill -9 "$cli"; fi
  wait "$cli"; code=$?
  for _ in $(seq 100); do [ -n "$machine" ] && kill -0 "$machine" || break; sleep 0.1; done 2>/dev/null
  [ -z "$machine" ] || ! kill -0 "$machine" 2>/dev/null || victim="left $victim"
  echo "$victim $code $(cat "$XDG_RUNTIME_DIR/stderr.$1")"
`;

describe.each(machines)('on $name', (machine) => {
  test(`after ${KILLS} kills of CLI or machine process at random moments, nothing is in the way`, async () => {
    const env = { TSVM, KILL_ONE, XDG_RUNTIME_DIR: '/tmp/tsvm-kill-test' };
    // A folder that was being made when its run died goes when it is older than any such folder of a run that lives.
    const script = `
      rm -rf "$XDG_RUNTIME_DIR"; mkdir -m 700 "$XDG_RUNTIME_DIR"
      seq ${KILLS} | xargs -P ${AT_ONCE} -I{} bash -c "$KILL_ONE" kill {}
      find "$XDG_RUNTIME_DIR/tsvm" -name '*.new' -exec touch -d '2 minutes ago' {} +
      "$TSVM" run --rm ${DEBIAN} echo fine
      ls "$XDG_RUNTIME_DIR/tsvm"`;
    const { code, stdout } = await run(machine, ['bash', '-c', script], { env });
    expect(code).toBe(0);
    const lines = stdout.trimEnd().split('\n');
    expect(lines.pop()).toBe('fine');
    expect(lines).toHaveLength(KILLS);
    for (const line of lines) {
      expect(line).toMatch(/^(cli 137 |machine 125 tsvm: the machine process died \(SIGKILL\))$/);
    }
    expect(lines.filter((line) => line.startsWith('machine')).length).toBeGreaterThan(0);
  }, 600_000);
});
