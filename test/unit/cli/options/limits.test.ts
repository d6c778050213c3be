import { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { addLimitOptions, parseUlimit, toLimits } from '../../../../cli/options/limits.js';

describe('--ulimit', () => {
  test.each([
    ['nofile=1024:4096', { name: 'nofile', soft: 1024, hard: 4096 }],
    ['core=0', { name: 'core', soft: 0, hard: 0 }],
    ['memlock=-1', { name: 'memlock', soft: 'unlimited', hard: 'unlimited' }],
    ['stack=8388608:unlimited', { name: 'stack', soft: 8_388_608, hard: 'unlimited' }],
  ])('%s is understood', (text, limit) => {
    expect(parseUlimit(text)).toEqual(limit);
  });

  test.each(['', 'nofile', 'nofile=', 'nofile=1:', 'nofile=a', '=1', 'nofile=1:2:3', 'nofile=-2', 'nofile= 1'])(
    '%j is refused',
    (text) => {
      expect(() => parseUlimit(text)).toThrow(`invalid argument '${text}' for --ulimit`);
    },
  );
});

describe('device rates', () => {
  test('are of one disk or of each', () => {
    const command = addLimitOptions(new Command()).exitOverride();
    command.parse(
      ['--device-read-bps', '/dev/vdb:1mb', '--device-read-bps', '2k', '--device-write-iops', '/dev/vda:100'],
      { from: 'user' },
    );
    expect(toLimits(command.opts()).deviceRates).toEqual([
      { device: '/dev/vdb', of: 'readBytes', rate: 1_048_576 },
      { device: undefined, of: 'readBytes', rate: 2048 },
      { device: '/dev/vda', of: 'writeOperations', rate: 100 },
    ]);
  });
});

describe('--security-opt', () => {
  test.each([
    ['no-new-privileges', true],
    ['no-new-privileges:true', true],
    ['no-new-privileges=false', false],
  ])('%s is understood', (option, noNewPrivileges) => {
    expect(toLimits({ securityOpt: [option] })).toMatchObject({ noNewPrivileges });
  });

  test('seccomp=unconfined is no profile', () => {
    expect(toLimits({ securityOpt: ['seccomp=unconfined'] }).seccomp).toBeUndefined();
  });

  test.each(['', 'seccomp', 'seccomp=', 'apparmor=x', 'no-new-privileges=maybe', 'label=disable'])(
    '%j is refused',
    (option) => {
      expect(() => toLimits({ securityOpt: [option] })).toThrow(`invalid --security-opt '${option}'`);
    },
  );
});
