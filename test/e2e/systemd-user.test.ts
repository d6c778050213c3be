// An ordinary user who is logged in gives machines cgroups by the user's systemd: a scope for the
// machine, and one for its supervisor. The lab boots this machine's systemd in namespaces.
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeSleeper } from '../fixtures/sleeper.js';
import { isLab, machines, run, TSVM } from './machine.js';

const BOOT = fileURLToPath(new URL('../fixtures/systemd/boot', import.meta.url));

/** Runs the script $1 as the user, in a session of a login. */
const LOGIN = `
  set -u
  base=/sys/fs/cgroup/systemd-$$
  kept=/tmp/kept-$$
  echo 'the files of others are there' > "$kept"
  echo '+memory +cpu +pids' > /sys/fs/cgroup/cgroup.subtree_control
  mkdir "$base"
  # Only what is in the namespace may be in the cgroup: then systemd can give its children controllers.
  unshare --pid --fork --kill-child --mount --uts --ipc \\
    sh -c 'echo 0 > "$1/cgroup.procs"; exec unshare --cgroup "$2"' sh "$base" "$BOOT" < /dev/null >&2 &
  namespaces=$!
  trap 'kill -9 $namespaces; wait $namespaces
    while [ -d "$base" ]; do find "$base" -depth -type d -exec rmdir {} + ; sleep 0.2; done 2> /dev/null' EXIT
  inside() { nsenter -t "$(pgrep -P "$namespaces")" -p -m -C -u -i "$@"; }
  chmod 666 /dev/kvm
  until inside systemctl is-active --quiet tests.target; do
    kill -0 "$namespaces" || exit
    sleep 0.5
  done 2> /dev/null
  echo "$1" | inside tee /run/script > /dev/null
  inside systemd-run --quiet --wait --pipe --uid=12345 -p PAMName=login -E TSVM -E FOLDER -E PATH bash /run/script
  cat "$kept" && rm "$kept"
`;

let folder: string;
beforeAll(() => {
  folder = makeSleeper();
});
afterAll(() => rmSync(folder, { recursive: true }));

describe.each(machines.filter(isLab))('on $name', (machine) => {
  test('machine and supervisor have scopes with limits, which end with them and after kill -9', async () => {
    const script = `
      export HOME=/run/tester TSVM_HOME=/run/tester/home
      tsvm() { "$TSVM" "$@"; }
      start() { tsvm run -d --name "$1" --accel kvm --cpus 0.5 -m 64m --network none --kernel "$FOLDER/kernel" sleeper /sleeper > /dev/null; }
      look() { tsvm inspect -f '{{.State.Cgroup}} {{.State.SupervisorCgroup}} {{.State.Pid}}' "$1"; }
      limits() { cat "$1/memory.max" "$1/memory.swap.max" "$1/memory.oom.group" "$1/cpu.max" "$1/cpu.weight" "$1/pids.max" | xargs; }
      until_gone() { for each; do while [ -d "$each" ]; do sleep 0.1; done; done; }
      units() { systemctl --user --no-legend --plain --all list-units 'tsvm-*'; }
      # systemd forgets a unit after its cgroup is gone. One that stays has missed the end.
      until_unloaded() {
        local tries=0
        while [ -n "$(units)" ]; do
          [ $((tries += 1)) -eq 100 ] && systemctl --user show 'tsvm-*' >&2
          sleep 0.1
        done
      }

      sed 's/^.*user-12345.slice.session-[c0-9]*.scope$/in a session/' /proc/self/cgroup
      tsvm import - sleeper < "$FOLDER/sleeper.tar" > /dev/null
      start first || exit
      read -r own theirs machine <<< "$(look first)"
      echo "\${own%/tsvm-*}"; echo "\${theirs#"\${own%.scope}"}"
      limits "$own"; limits "$theirs"
      grep -qx "$machine" "$own/cgroup.procs" && echo inside
      [ "$(tr '\\0' '\\n' < "/proc/$(cat "$theirs/cgroup.procs")/cmdline" | grep -c supervisor.cjs)" -eq 1 ] && echo alone
      units | wc -l
      tsvm rm -f first
      until_gone "$own" "$theirs"; until_unloaded; echo removed

      start second || exit
      read -r own theirs machine <<< "$(look second)"
      kill -9 "$(cat "$theirs/cgroup.procs")"
      until_gone "$own" "$theirs"; until_unloaded; echo 'removed by systemd'`;
    const { code, stdout, stderr } = await run(machine, ['bash', '-c', LOGIN, 'bash', script], {
      env: { TSVM, FOLDER: folder, BOOT },
    });
    expect({ code, lines: stdout.trimEnd().split('\n') }, stderr).toEqual({
      code: 0,
      lines: [
        'in a session',
        '/sys/fs/cgroup/user.slice/user-12345.slice/user@12345.service/app.slice',
        '-supervisor.scope',
        `${(64 + 8 + 256) * 2 ** 20} ${64 * 2 ** 20} 1 150000 100000 50 68`,
        `${512 * 2 ** 20} ${512 * 2 ** 20} 1 50000 100000 50 128`,
        'inside',
        'alone',
        '2',
        'first',
        'removed',
        'removed by systemd',
        'the files of others are there',
      ],
    });
  });
});
