// Templates: the first run on KVM boots and has one made in the background; warm runs are like cold
// ones, two of them differ in whatever makes a machine its own, and one that cannot be restored costs
// a line and a boot.
import { expect, test } from 'vitest';
import { DEBIAN, isLab, machines, run, TSVM } from './machine.js';
import { OwnHome } from './own-home.js';

const IDENTITY = `
  cat /proc/sys/kernel/random/boot_id /dev/tsvm/generation /etc/hostname /sys/class/net/eth0/address
  head -c 16 /dev/urandom | od -An -tx1
  tail -n 1 /etc/hosts | cut -f 1`;

/** A template's machine has plugged its disk in; another one had it from the start. */
const HOW = "dmesg | grep -q 'vda: detected capacity change from 0' && echo warm || echo cold";

test.each(machines.filter((machine) => isLab(machine) || machine.name.endsWith('kvm')))(
  'on $name, a cold run leaves a template, and warm runs are like cold ones and unlike each other',
  { timeout: 600_000 },
  async (machine) => {
    using home = new OwnHome();
    const text = `
      set -e
      tsvm() { "$TSVM" "$@"; }
      go() { tsvm run --rm --accel kvm -v $folder:/data "$@"; }
      folder=$(mktemp -d)
      echo given > $folder/file
      go --cold ${DEBIAN} sh -c "${HOW}"
      ls $TSVM_HOME/templates 2>/dev/null | wc -l
      go ${DEBIAN} sh -c "${HOW}; cat /data/file"
      for second in $(seq 300); do [ -n "$(tsvm template ls -q)" ] && break; sleep 1; done
      tsvm template ls --format '{{.CPUs}} {{.Devices}}'
      echo === one
      go ${DEBIAN} sh -c "${HOW}; cat /data/file; echo back > /data/back; ${IDENTITY}" > $folder/one &
      go ${DEBIAN} sh -c "${HOW}; sha256sum /bin/sh | cut -c -64; echo > /new; ${IDENTITY}" > $folder/two
      wait $!
      cat $folder/back $folder/one
      echo === two
      cat $folder/two
      echo === damaged
      for state in $TSVM_HOME/templates/*/state.json; do printf '{}' > $state; done
      go ${DEBIAN} sh -c "${HOW}" 2>&1
      for second in $(seq 300); do ls -d $TSVM_HOME/templates/*.new > /dev/null 2>&1 && break; sleep 0.2; done
      pkill -9 -f "template.js .*$TSVM_HOME"
      tsvm template ls -q
      tsvm template prune -f
      tsvm ps -aq`;
    const env = { TSVM, TSVM_HOME: home.path, XDG_RUNTIME_DIR: '', TSVM_TEMPLATES_SIZE: '' };
    const { code, stdout, stderr } = await run(machine, ['bash', '-c', text], { env });
    expect({ code, stderr }, stdout + stderr).toEqual({ code: 0, stderr: '' });
    const [runs, one = '', two = '', damaged] = stdout.split(/^=== .*\n/m);
    expect(runs).toBe('cold\n0\ncold\ngiven\n1 layer,network,shares\n');
    const [back, first, given, ...ofOne] = one.trim().split('\n');
    expect([back, first, given]).toEqual(['back', 'warm', 'given']);
    const [second, sum, ...ofTwo] = two.trim().split('\n');
    expect([second, sum]).toEqual(['warm', expect.stringMatching(/^[0-9a-f]{64}$/)]);
    expect([ofOne.length, ofTwo.length]).toEqual([6, 6]);
    expect(new Set([...ofOne, ...ofTwo]).size).toBe(12);
    expect(damaged).toMatch(
      /^tsvm: warning: .* starts cold: the template is damaged: .*\ncold\nTotal reclaimed space: 0B\n$/,
    );
    expect(home.left).toEqual([]);
  },
);
