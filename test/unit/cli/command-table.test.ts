// The command table: each entry loads a command of its name, and each subcommand of a group exists.
import { describe, expect, test } from 'vitest';
import { COMMAND_TABLE } from '../../../cli/command-table.js';
import type { Context } from '../../../cli/commands/command.js';
import { findCommand } from '../../../cli/commands/lookup.js';

const context: Context = { version: '1.0.0', table: COMMAND_TABLE, early: {}, options: {}, exitCode: 0 };
const { commands, groups, hidden } = COMMAND_TABLE;

test.each(Object.entries({ ...commands, ...hidden }))('%s loads its command', async (name, entry) => {
  const command = (await entry.load()).command(context);
  expect(command.name()).toBe(`tsvm ${name}`);
  expect(entry.summary).toMatch(/^[a-z].*[^.]$/);
  if (!Object.hasOwn(hidden, name)) expect(command.description()).toMatch(/^[A-Z].*\.$/);
});

describe.each(Object.entries(groups))('the group %s', (group, { commands: words }) => {
  test.each(Object.entries(words))('has %s, which is %s', (word, name) => {
    expect(findCommand(COMMAND_TABLE, [group, word, 'a', ''])).toEqual({
      name,
      entry: commands[name],
      args: ['a', ''],
    });
  });
});

test('a name with a space, of an object, or of an empty word finds no command', () => {
  for (const words of [['volume ls'], ['toString'], ['network', 'constructor'], ['network'], [''], []]) {
    expect(findCommand(COMMAND_TABLE, words)).toBeUndefined();
  }
});

test('the words after a command are its arguments', () => {
  expect(findCommand(COMMAND_TABLE, ['rm', ''])?.args).toEqual(['']);
  expect(findCommand(COMMAND_TABLE, ['rm', '-f', 'web'])?.args).toEqual(['-f', 'web']);
});
