// Proves that a pod of podman is one machine on KVM too, on a host with cgroup v2 alone: in the lab.
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isLab, machines, run } from './machine.js';
import { CLIENT, populateWithPerl, SERVER } from './network-image.js';
import { writePause } from './podman.js';

const RUNTIME = fileURLToPath(new URL('../../dist/tsvm-oci', import.meta.url));
const SIZE = 76_543;

/** Its storage and its folders are in the lab's memory. */
const SCRIPT = `
  set -u
  at=/tmp/podman-$1; mkdir "$at"
  printf '[network]\\nnetwork_backend="cni"\\nnetwork_config_dir="%s"\\n' "$at/networks" > "$at/containers.conf"
  export CONTAINERS_CONF="$at/containers.conf"
  pod() {
    podman --root "$at/root" --runroot "$at/run" --tmpdir "$at/tmp" --storage-driver vfs --cgroup-manager cgroupfs \\
      --events-backend none --runtime "$RUNTIME" "$@"
  }
  processes() { find "/sys/fs/cgroup/$1" -path '*/libpod-*' ! -path '*conmon*' -name cgroup.procs -exec cat {} +; }
  left() { ls /run/tsvm-oci; find "/sys/fs/cgroup/$1" -name 'libpod-*' ! -name '*conmon*'; pgrep -a -f "$at/"; }
  trap 'pod pod rm --all --force --time 0 > /dev/null 2>&1; rm -rf "$at"' EXIT

  pod import -q "$IMAGE" box > /dev/null || exit
  pod pod create --name one --network none --infra-image box --infra-command /bin/pause --cgroup-parent "/$1" \\
    --memory 512m > /dev/null || exit
  pod run -d --pod one --name server box sh -c 'trap "exit 4" TERM; perl -e "$0" "$@" & wait' \\
    "$SERVER" 8080 ${SIZE} > /dev/null || exit
  pod run -d --pod one --name client box sh -c 'trap "echo bye; exit 5" TERM; while :; do sleep 0.1; done' > /dev/null || exit
  # It ends with the container.
  read -r line < <(pod logs -f server); echo "$line"
  boot=/proc/sys/kernel/random/boot_id
  [ "$(pod exec server cat $boot)" != "$(cat $boot)" ] && echo 'not the boot of the host'
  pod exec client sh -c 'grep -qx "$1" /proc/sys/kernel/random/boot_id && echo same boot
    grep MemTotal: /proc/meminfo; perl -e "$2" 127.0.0.1:8080 | wc -c; exit 7' sh "$(pod exec server cat $boot)" "$CLIENT"
  echo "exec: $?"
  for pid in $(processes "$1"); do ls -l "/proc/$pid/fd"; done | grep -o 'anon_inode:kvm-vm$'
  pod pod stop --time 60 one > /dev/null || exit
  pod inspect -f '{{.Name}} {{.State.ExitCode}}' server client
  pod logs client
  pod pod rm one > /dev/null || exit
  while left "$1" | grep -q .; do sleep 0.1; done; echo 'nothing left'`;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync('/var/tmp/tsvm-oci-kvm-');
  chmodSync(folder, 0o711);
  mkdirSync(join(folder, 'image'));
  populateWithPerl(join(folder, 'image'));
  writePause(join(folder, 'image'));
  execFileSync('tar', ['-C', join(folder, 'image'), '-cf', join(folder, 'image.tar'), '.']);
});
afterAll(() => rmSync(folder, { recursive: true }));

describe.each(machines.filter(isLab))('on $name', (machine) => {
  test('a pod is one machine on KVM that its cgroup holds, whose containers meet, end and are removed', async () => {
    const env = { RUNTIME, SERVER, CLIENT, IMAGE: join(folder, 'image.tar') };
    const { code, stdout, stderr } = await run(machine, ['bash', '-c', SCRIPT, 'bash', `tsvm-pod-${process.pid}`], {
      env,
    });
    const lines = stdout.trimEnd().split('\n');
    const [, memory] = /^MemTotal: +(\d+) kB$/.exec(lines[3] ?? '') ?? [];
    expect({ code, lines }, stderr).toEqual({
      code: 0,
      lines: [
        ...['up', 'not the boot of the host', 'same boot', lines[3], String(SIZE), 'exec: 7'],
        ...['anon_inode:kvm-vm', 'server 4', 'client 5', 'bye', 'nothing left'],
      ],
    });
    expect(Number(memory)).toBeLessThan(352 * 1024);
  });
});
