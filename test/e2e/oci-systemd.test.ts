// Proves that podman with its defaults of a host with systemd and cgroup v2 has containers of the OCI runtime in
// scopes of systemd: what is in them, and that nothing is left, whatever is killed.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { populate } from '../unit/guest-agent/container-image.js';
import { run, uml } from './machine.js';

const PROJECT = fileURLToPath(new URL('../..', import.meta.url));
const RUN = join(PROJECT, 'test/fixtures/systemd/run-alone');

/** Podman's files are in the namespaces of that systemd. The driver of cgroups is the one that it chooses. */
const FUNCTIONS = `
  podman() {
    command podman --root /run/podman/root --runroot /run/podman/runroot --tmpdir /run/podman/tmp \\
      --storage-driver vfs --events-backend none --runtime "$PROJECT/dist/tsvm-oci" "$@"
  }
  run() { podman run -d --annotation dev.tsvm.accel=uml "$@" > /dev/null; }
  unit() { podman inspect -f 'libpod-{{.Id}}.scope' "$1"; }
  path() { systemctl show -P ControlGroup "$(unit "$1")"; }
  # Names of the programs in the scope of a container.
  programs() { xargs -I PID cat /proc/PID/comm 2> /dev/null < "/sys/fs/cgroup$(path "$1")/cgroup.procs" | sort -u | xargs; }
  remaining() {
    systemctl list-units --all --no-legend --plain 'libpod-*.scope'
    find /sys/fs/cgroup -name 'libpod-*'
    ls /run/tsvm-oci 2> /dev/null
    pgrep -fl 'keeper.js|machine.cjs|tsvm-oci'
  }
  # The monitors of podman end a moment after their containers.
  nothing() {
    for tries in $(seq 600); do [ -z "$(remaining)" ] && echo nothing && return; sleep 0.1; done
    remaining
  }
  NAME=localhost/test:1
  podman import --quiet "$IMAGE" "$NAME" > /dev/null || exit
  WAIT='trap "exit 5" TERM; while :; do sleep 0.1; done'
`;

let folder: string;

beforeAll(() => {
  folder = mkdtempSync('/var/tmp/tsvm-oci-systemd-');
  mkdirSync(join(folder, 'root'));
  populate(join(folder, 'root'));
  execFileSync('tar', ['-C', join(folder, 'root'), '-cf', join(folder, 'image.tar'), '.']);
});

afterAll(() => rmSync(folder, { recursive: true }));

/** Runs a script beside podman, under a systemd of its own. Resolves to its lines. */
async function underSystemd(script: string): Promise<string[]> {
  const variables = `PROJECT='${PROJECT}' IMAGE='${folder}/image.tar'\n`;
  const { code, stdout, stderr } = await run(uml, ['bash', RUN, `${variables}${FUNCTIONS}${script}`, PROJECT, folder]);
  expect(code, stderr).toBe(0);
  return stdout.trimEnd().split('\n');
}

test('a container is in a scope, which tells its processes and ends with it', async () => {
  const lines = await underSystemd(`
    podman info -f '{{.Host.CgroupManager}} {{.Host.CgroupsVersion}}'
    run --network none --name one "$NAME" sh -c "$WAIT"
    one=$(unit one)
    systemctl show -P Slice,Delegate,ActiveState,CollectMode "$one" | xargs
    [ "$(systemctl show -P Description "$one")" = "machine of container $(podman inspect -f '{{.Id}}' one)" ] && echo described
    [ "$(path one)" = "/machine.slice/$one" ] && echo placed
    programs one
    for tool in "systemctl --no-pager --full status $one" "systemd-cgls --no-pager --full --unit $one"; do
      $tool | grep -Eo 'keeper.js|machine.cjs|tsvm-oci --systemd-cgroup|mem=' | sort -u | xargs
    done
    podman exec one sh -c 'echo ran; exit 7'; echo $?
    podman exec one sleep 1000 &
    until [ "$(grep -Flx 'tsvm-oci' $(sed 's,.*,/proc/&/comm,' "/sys/fs/cgroup$(path one)/cgroup.procs") | wc -l)" -eq 2 ]; do sleep 0.1; done
    echo 'two stubs'
    podman stop one > /dev/null
    podman inspect -f '{{.State.Status}} {{.State.ExitCode}}' one
    podman rm one > /dev/null
    run --network none --name two "$NAME" sh -c "$WAIT"
    systemctl stop "$(unit two)"
    podman rm --force --time 0 two > /dev/null
    nothing`);
  expect(lines).toEqual([
    'systemd v2',
    'machine.slice yes active inactive-or-failed',
    'described',
    'placed',
    expect.stringMatching(/^(kernel node tsvm-jail tsvm-oci|node tsvm-jail tsvm-oci vmlinux)$/),
    'keeper.js machine.cjs mem= tsvm-oci --systemd-cgroup',
    'keeper.js machine.cjs mem= tsvm-oci --systemd-cgroup',
    'ran',
    '7',
    'two stubs',
    'exited 5',
    'nothing',
  ]);
});

test('containers of one machine are each in a scope, and the machine leaves that of one that is removed', async () => {
  const lines = await underSystemd(`
    run --network none --name first "$NAME" sh -c "$WAIT"
    run --network container:first --name second "$NAME" sh -c "$WAIT"
    first=$(unit first)
    programs second
    path second | sed 's/libpod-.*/libpod/'
    podman stop first > /dev/null
    podman inspect -f '{{.State.ExitCode}}' first
    podman exec second echo runs
    programs second | tr ' ' '\\n' | grep -c node
    systemctl list-units --all --no-legend --plain "$first" | wc -l
    podman rm --force --time 0 second > /dev/null && podman rm first > /dev/null
    nothing`);
  expect(lines).toEqual(['tsvm-oci', '/machine.slice/libpod', '5', 'runs', '1', '0', 'nothing']);
});

test('nothing is left of a container of which a process is killed', async () => {
  const lines = await underSystemd(`
    hits=0
    # At a moment of its creation, or of its life.
    for moment in 0.1 0.4 0.8 1.5; do
      for victim in keeper.js 'tsvm-oci --systemd-cgroup create'; do
        run --network none --name victim "$NAME" sleep 1000 2> /dev/null &
        sleep "$moment"
        pkill -9 -f "$victim" && hits=$((hits + 1))
        wait
        podman rm --force --time 0 victim > /dev/null 2>&1 || podman rm --force --time 0 victim > /dev/null
        nothing
      done
    done
    [ "$hits" -gt 0 ] && echo killed`);
  expect(lines).toEqual([...Array(8).fill('nothing'), 'killed']);
});

/** Makes a container with a path of the cgroup, and prints what the runtime says. */
const CREATE = `
  create() {
    mkdir -p /run/bundle/rootfs
    echo '{"ociVersion":"1.0.0","root":{"path":"rootfs"},"process":{"args":["x"],"cwd":"/","user":{"uid":0,"gid":0}},
      "linux":{"cgroupsPath":"'$1'","namespaces":[{"type":"network"},{"type":"pid"},{"type":"mount"},{"type":"ipc"},{"type":"uts"}]}}' > /run/bundle/config.json
    "$PROJECT/dist/tsvm-oci" --systemd-cgroup create --bundle /run/bundle refused 2>&1
  }
`;

test("a cgroup that is no scope is refused in runc's words", async () => {
  const lines = await underSystemd(`${CREATE}
    create /wrong
    nothing`);
  expect(lines).toEqual([
    'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "/wrong" instead',
    'nothing',
  ]);
});

test('a scope of the name that is there already stays, and the container is refused', async () => {
  const lines = await underSystemd(`${CREATE}
    systemd-run --quiet --scope --unit=taken -p DefaultDependencies=no sleep 1000 &
    for tries in $(seq 600); do systemctl is-active --quiet taken.scope && break; sleep 0.1; done
    create system.slice::taken | grep -o 'systemd refuses a cgroup'
    systemctl is-active taken.scope
    nothing`);
  expect(lines).toEqual(['systemd refuses a cgroup', 'active', 'nothing']);
});
