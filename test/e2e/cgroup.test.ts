// On a host with cgroup v2 each machine is in a cgroup of its own, with everything that belongs to
// it, and cannot take more of the host than that has. The lab is such a host. Processes that are put
// into the cgroup stand for a machine process that a guest has taken over.
import { rmSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeSleeper } from '../fixtures/sleeper.js';
import { DEBIAN, isLab, machines, run, TSVM } from './machine.js';

/** Functions for the scripts below. */
const FUNCTIONS = `
  set -u
  tsvm() { "$TSVM" "$@"; }
  look() { tsvm inspect -f '{{.State.Cgroup}} {{.State.Pid}}' "$1"; }
  supervisors() { tsvm inspect -f '{{.State.SupervisorCgroup}}' "$1"; }
  parent() { ps -o ppid= -p "$1" | tr -d ' '; }
  # Of a machine process, whose parent is the launcher of its jail.
  owner() { parent "$(parent "$1")"; }
  below() { local pid; for pid in $(pgrep -P "$1"); do echo "$pid"; below "$pid"; done; }
  until_gone() { while [ -d "$1" ]; do sleep 0.1; done; }
  # Runs sh -c "$2" as a process of the cgroup $1.
  inside() { sh -c 'echo $$ > "$1/cgroup.procs"; exec sh -c "$2"' sh "$1" "$2"; }
  # Kills the processes of the cgroup $1 but those of the list $2, until none is left.
  keep_only() { while grep -vxF "$2" "$1/cgroup.procs" | xargs -r kill -9; grep -qvxF "$2" "$1/cgroup.procs"; do sleep 0.1; done 2> /dev/null; }
  value() { sed -n "s/^$2 //p" "$1"; }
`;

let folder: string;
beforeAll(() => {
  folder = makeSleeper();
});
afterAll(() => rmSync(folder, { recursive: true }));

describe.each(machines.filter(isLab))('on $name', (machine) => {
  const sh = (script: string, words: string[] = []) =>
    run(machine, ['bash', '-c', FUNCTIONS + script, 'bash', ...words], { env: { TSVM, FOLDER: folder } });

  test('a machine that takes what it can stays in its cgroup, which ends with it', async () => {
    const name = `bounded-${process.pid}`;
    const script = `
      trap 'tsvm rm -f "$1" "$1-other" > /dev/null 2>&1' EXIT
      tsvm run -d --accel kvm --name "$1-other" -m 64m --network none ${DEBIAN} sleep 1000 > /dev/null || exit
      tsvm run -d --accel kvm --name "$1" -m 64m --cpus 0.5 ${DEBIAN} sleep 1000 > /dev/null || exit
      read -r own machine <<< "$(look "$1")"; owner=$(owner "$machine")
      echo "\${own%-*} \${#own}"
      for pid in $(below "$owner"); do
        grep -qx "$pid" "$own/cgroup.procs" || echo "outside: $pid $(cat "/proc/$pid/comm")"
      done
      # Launcher and machine process.
      [ "$(below "$owner" | wc -l)" -eq 2 ] && ! grep -qx "$owner" "$own/cgroup.procs" && echo inside
      cat "$own/memory.max" "$own/memory.oom.group" "$own/cpu.max" "$own/pids.max" | xargs
      # Its owner is in another one, alone.
      theirs=$(supervisors "$1"); echo "\${theirs#"$own"}"
      [ "$(cat "$theirs/cgroup.procs")" = "$owner" ] && echo alone
      cat "$theirs/memory.max" "$theirs/memory.oom.group" "$theirs/cpu.max" "$theirs/pids.max" | xargs
      its=$(cat "$own/cgroup.procs")

      # CPU.
      before=$(value "$own/cpu.stat" nr_throttled)
      for _ in 1 2 3; do inside "$own" 'while :; do :; done' & done
      while [ "$(value "$own/cpu.stat" nr_throttled)" -le "$before" ]; do sleep 0.1; done; echo throttled
      keep_only "$own" "$its"; wait 2> /dev/null
      # Processes.
      inside "$own" 'while sleep 1000 & do :; done' 2> /dev/null
      [ "$(value "$own/pids.events" max)" -gt 0 ] && [ "$(cat "$own/pids.peak")" -le "$(cat "$own/pids.max")" ] && echo full
      keep_only "$own" "$its"
      # Memory.
      kill -0 "$machine" && inside "$own" 'exec tail /dev/zero' 2> /dev/null; echo "killed: $?"
      until_gone "$own"; until_gone "$theirs"
      tsvm inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}' "$1"
      tsvm exec "$1-other" echo answers`;
    const { code, stdout, stderr } = await sh(script, [name]);
    expect({ code, lines: stdout.trimEnd().split('\n') }, stderr).toEqual({
      code: 0,
      lines: [
        '/sys/fs/cgroup/tsvm/tsvm 37',
        'inside',
        `${(64 + 8 + 256) * 2 ** 20} 1 150000 100000 68`,
        '-supervisor',
        'alone',
        `${512 * 2 ** 20} 1 50000 100000 128`,
        'throttled',
        'full',
        'killed: 137',
        'exited 255 the machine was ended: it used more memory than 328 MiB on the host',
        'answers',
      ],
    });
  });

  test('rates of disks bind what the host writes later too, and stats tells it', async () => {
    const script = `
      home="/tmp/home-$1"; export TSVM_HOME="$home/tsvm"
      trap 'tsvm rm -f slow > /dev/null 2>&1; umount "$home"; rm -rf "$home" "$home.ext4"' EXIT
      mkdir "$home"; truncate -s 200M "$home.ext4"; mkfs.ext4 -q "$home.ext4"; mount -o loop "$home.ext4" "$home"
      tsvm import - sleeper < "$FOLDER/sleeper.tar" > /dev/null
      tsvm run -d --name slow --accel kvm -m 64m --disk 32m --network none --kernel "$FOLDER/kernel" \\
        --device-write-bps 1mb --device-read-iops 100 sleeper /sleeper > /dev/null || exit
      read -r own machine <<< "$(look slow)"
      sed 's/^[0-9]*:[0-9]* //' "$own/io.max"
      [ "$(stat -c %d "$home")" -eq "$(( $(cut -d: -f1 "$own/io.max") * 256 + $(cut -d' ' -f1 "$own/io.max" | cut -d: -f2) ))" ] &&
        echo 'its disk'
      # What a machine process that a guest has taken over would do. No device sees it.
      start=$(date +%s%N)
      inside "$own" "dd if=/dev/zero of=$home/file bs=1M count=8 conv=fsync status=none"
      echo "$(( ($(date +%s%N) - start) / 1000000000 ))"
      tsvm stats --no-stream --format '{{.HostBlockIO}}|{{.HostPIDs}}' slow | tr '|' '\\n'`;
    const { stdout, stderr } = await sh(script, [String(process.pid)]);
    const [limits, disk, seconds, usage, pids] = stdout.trimEnd().split('\n');
    // Of the image, which is not written, and of the layer.
    expect(limits, stderr).toBe('rbps=max wbps=1310720 riops=800 wiops=max');
    expect(disk).toBe('its disk');
    expect(Number(seconds)).toBeGreaterThanOrEqual(5);
    expect(usage).toMatch(/^.* \/ (8|9|1\d)(\.\d+)?MB$/);
    // Node.js alone has more than one. The limit is 68.
    expect([Number(pids) > 1, Number(pids) <= 68]).toEqual([true, true]);
  });

  test('an ordinary user gives machines a delegated folder, and no other', async () => {
    const script = `
      user=12345 base=/sys/fs/cgroup/delegated-$1
      trap 'tsvm_user rm -f first second > /dev/null 2>&1; cd /; echo $$ > /sys/fs/cgroup/cgroup.procs
        rmdir "$base"/*/ "$base"; rm -rf "/tmp/user-$1"' EXIT
      chmod 666 /dev/kvm
      mkdir -m 700 "/tmp/user-$1"; cd "/tmp/user-$1"; chown $user .
      mkdir "$base" "$base/callers"
      echo '+memory +cpu +pids' > /sys/fs/cgroup/cgroup.subtree_control
      chown $user "$base" "$base/cgroup.procs" "$base/cgroup.subtree_control"
      tsvm_user() {
        setpriv --reuid $user --regid $user --clear-groups \\
          env HOME="$PWD" TSVM_HOME="$PWD/home" XDG_RUNTIME_DIR= TSVM_CGROUP_PARENT="\${PARENT-}" "$TSVM" "$@"
      }
      tsvm_user import - sleeper < "$FOLDER/sleeper.tar" > /dev/null
      start() { tsvm_user run "$@" --accel kvm -m 64m --network none --kernel "$FOLDER/kernel" sleeper /sleeper > /dev/null; }
      refused() { start --rm --cgroup-parent "$1"; echo "$?"; }

      refused /no-such-folder
      refused "/delegated-$1"
      echo $$ > "$base/callers/cgroup.procs"
      refused /
      tsvm run --rm --cgroup-parent "$base" ${DEBIAN} true; echo "$?"

      PARENT=$base start -d --name first || exit
      read -r own machine <<< "$(PARENT=$base tsvm_user inspect -f '{{.State.Cgroup}} {{.State.Pid}}' first)"
      dirname "$own"; cat "$own/cpu.max"
      for pid in "$machine" $(below "$machine"); do grep -qx "$pid" "$own/cgroup.procs" || echo "outside: $pid"; done
      theirs=$(PARENT=$base tsvm_user inspect -f '{{.State.SupervisorCgroup}}' first); [ "$(cat "$theirs/cgroup.procs")" = "$(owner "$machine")" ] && echo alone
      # Its owner is killed. Both cgroups go when the next machine starts.
      kill -9 "$(owner "$machine")"
      while [ -n "$(cat "$own/cgroup.procs")" ]; do sleep 0.1; done; [ -d "$own" ] && [ -d "$theirs" ] && echo left
      PARENT=$base start -d --name second || exit
      until_gone "$own"; until_gone "$theirs"; echo swept
      tsvm_user rm -f first second > /dev/null
      ls "$base" | grep tsvm- || echo removed`;
    const { stdout, stderr } = await sh(script, [String(process.pid)]);
    const base = `/sys/fs/cgroup/delegated-${process.pid}`;
    expect({ lines: stdout.trimEnd().split('\n'), errors: stderr.trimEnd().split('\n') }).toEqual({
      lines: ['125', '125', '125', '125', base, '200000 100000', 'alone', 'left', 'swept', 'removed'],
      errors: [
        'tsvm: cgroup parent /no-such-folder: there is no such folder: make it, or name another',
        `tsvm: cgroup parent ${base.slice(14)}: this process is in /sys/fs/cgroup and cannot leave it: start tsvm in ${base}/NAME`,
        'tsvm: cgroup parent /: it is not delegated to user 12345: have root run: chown 12345 /sys/fs/cgroup',
        `tsvm: cgroup parent ${base}: ${base} belongs to user 12345: use a folder of user 0`,
      ],
    });
  });
});
