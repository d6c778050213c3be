// Resource limits, disk rates and security options are parsed, or refused.
import { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { addContainerOptions, toContainerSpec } from '../../../../cli/options/container-options.js';
import { parseUlimit } from '../../../../cli/options/limits.js';
import { parseSecurityOption } from '../../../../cli/options/security.js';

/** The spec of a container with these options. */
function spec(...words: string[]) {
  const command = addContainerOptions(new Command()).exitOverride();
  command.parse([...words, 'image'], { from: 'user' });
  return toContainerSpec('image', [], command);
}

describe('--ulimit', () => {
  test.each([
    ['nofile=1024:4096', { name: 'nofile', soft: 1024, hard: 4096 }],
    ['core=0', { name: 'core', soft: 0, hard: 0 }],
    ['memlock=-1', { name: 'memlock', soft: 'unlimited', hard: 'unlimited' }],
    ['stack=8388608:unlimited', { name: 'stack', soft: 8_388_608, hard: 'unlimited' }],
  ])('%s is understood', (text, limit) => {
    expect(parseUlimit(text, '--ulimit')).toEqual(limit);
  });

  test.each(['', 'nofile', 'nofile=', 'nofile=1:', 'nofile=a', '=1', 'nofile=1:2:3', 'nofile=-2', 'nofile= 1'])(
    '%j is refused',
    (text) => {
      expect(() => parseUlimit(text, '--ulimit')).toThrow(`invalid argument '${text}' for --ulimit`);
    },
  );
});

test('a device rate applies to one disk or to all', () => {
  const words = ['--device-read-bps', '/dev/vdb:1mb', '--device-read-bps', '2k', '--device-write-iops', '/dev/vda:100'];
  expect(spec(...words).deviceRates).toEqual([
    { device: '/dev/vdb', of: 'readBytes', rate: 1_048_576 },
    { of: 'readBytes', rate: 2048 },
    { device: '/dev/vda', of: 'writeOperations', rate: 100 },
  ]);
  expect(spec('--device-write-bps', 'shares:1m').deviceRates).toEqual([
    { device: 'shares', of: 'writeBytes', rate: 1_048_576 },
  ]);
});

describe('--security-opt', () => {
  test.each([
    ['no-new-privileges', true],
    ['no-new-privileges:true', true],
    ['no-new-privileges=false', false],
  ])('%s is understood', (option, noNewPrivileges) => {
    expect(parseSecurityOption(option)).toEqual({ noNewPrivileges });
  });

  test('seccomp=unconfined is the profile that allows everything', () => {
    expect(parseSecurityOption('seccomp=unconfined')).toEqual({ seccomp: { defaultAction: 'SCMP_ACT_ALLOW' } });
    expect(spec('--security-opt', 'seccomp=unconfined', '--security-opt', 'no-new-privileges')).toEqual({
      ...{ image: 'image', command: [], network: {} },
      seccomp: { defaultAction: 'SCMP_ACT_ALLOW' },
      noNewPrivileges: true,
    });
  });

  test.each(['', 'seccomp', 'seccomp=', 'apparmor=x', 'no-new-privileges=maybe', 'label=disable'])(
    '%j is refused',
    (option) => {
      expect(() => parseSecurityOption(option)).toThrow(`invalid --security-opt '${option}'`);
    },
  );
});
