// Debian's own kernels run containers as the tuned one does: they find processors and devices in ACPI
// tables, and load their drivers from an archive. `./quickstart --setup-only --test` fetches them.
import { describe, expect, test } from 'vitest';
import { DEBIAN, fastestProcessor, isUml, machines, PYTHON, run, TSVM, tsvmRun, uml } from './machine.js';
import { OwnHome } from './own-home.js';

const FETCH = 'import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())';

describe.each([...fastestProcessor, uml])('on $name', (machine) => {
  const [kernel, release] = isUml(machine) ? ['debian-uml', /^\d[^-]*$/] : ['debian', /^\d.*-cloud-amd64$/];

  test(`Debian's kernel '${kernel}': streams, exit codes, folders, volumes, exec, ports, stop and start`, async () => {
    using home = new OwnHome();
    const env = { TSVM_HOME: home.path };
    const tsvm = async (...words: string[]) => {
      const { code, stdout, stderr } = await run(machine, [TSVM, ...words], { env });
      expect({ words, code, stderr }).toEqual({ words, code: 0, stderr: '' });
      return stdout.trim();
    };
    const share = home.path;
    const serve = 'cat /proc/sys/kernel/osrelease > /data/release; cd /data; exec python3 -m http.server 80';
    const options = ['-p', '127.0.0.1::80', '-v', 'data:/data', '-v', `${share}:/share`, '--init'];
    await tsvm('run', '-d', '--name', 'web', '--kernel', kernel, ...options, PYTHON, 'sh', '-c', serve);
    try {
      const answer = async () => {
        // The server listens some time after its start: the guest says when.
        const waits =
          'until python3 -c "import socket; socket.create_connection((\'127.0.0.1\', 80))" 2>/dev/null; do :; done';
        await tsvm('exec', 'web', 'sh', '-c', waits);
        const url = `http://${await tsvm('port', 'web', '80')}/release`;
        return (await run(machine, ['/usr/bin/python3', '-c', FETCH, url])).stdout.trim();
      };
      expect(await answer()).toMatch(release);
      expect(
        (await run(machine, [TSVM, 'exec', 'web', 'sh', '-c', 'echo said > /share/file; exit 3'], { env })).code,
      ).toBe(3);
      expect((await run(machine, ['cat', `${share}/file`])).stdout).toBe('said\n');
      await tsvm('exec', 'web', 'sh', '-c', 'echo kept > /data/kept');
      await tsvm('stop', 'web');
      await tsvm('start', 'web');
      expect(await answer()).toMatch(release);
      expect(await tsvm('exec', 'web', 'cat', '/data/kept')).toBe('kept');
    } finally {
      await tsvm('rm', '-f', 'web');
    }
  });
});

// Processors, interrupts, the time and the end of a machine are another thing on KVM than on QEMU.
describe.each(machines)('on $name', (machine) => {
  const [kernel, release] = isUml(machine) ? ['debian-uml', '\\d+'] : ['debian', 'cloud-amd64'];

  test(`Debian's kernel '${kernel}': stdin, a folder, and an exit code`, async () => {
    using home = new OwnHome();
    const options = ['--kernel', kernel, '--network', 'none', '-i', '-v', `${home.path}:/share`];
    // No program is started for each device, where the kernel could do that.
    const script = 'uname -r; cat /proc/sys/kernel/hotplug 2> /dev/null; cat > /share/file; sleep 0.1; exit 3';
    const ended = await tsvmRun(machine, [...options, DEBIAN, 'sh', '-c', script], { stdin: 'said' });
    expect(ended).toEqual({ code: 3, stdout: expect.stringMatching(`^\\d.*${release}\n\n?$`), stderr: '' });
    expect((await run(machine, ['cat', `${home.path}/file`])).stdout).toBe('said');
  });
});

describe.each(fastestProcessor)('on $name', (machine) => {
  test("Debian's kernel for any machine, with two processors: an exit code, and a panic", async () => {
    const kernel = ['--kernel', 'debian-generic', '--network', 'none', '--cpus', '2'];
    const ended = await tsvmRun(machine, [...kernel, DEBIAN, 'sh', '-c', 'uname -r; nproc; exit 5']);
    expect(ended).toMatchObject({ code: 5, stdout: expect.stringMatching(/^\d.*\d-amd64\n2\n$/) });
    const panic = ['--privileged', DEBIAN, 'sh', '-c', 'echo c > /proc/sysrq-trigger'];
    const { code, stderr } = await tsvmRun(machine, [...kernel, ...panic]);
    expect({ code, stderr }).toEqual({
      code: 125,
      stderr: expect.stringMatching(/the guest's kernel panicked: sysrq triggered crash/),
    });
  });
});
