// The range of user IDs of root's jails: from the environment, from /etc/subuid, or a default; and
// one line about a range that cannot be used.
import { expect, test } from 'vitest';
import { chooseRange, parseRange } from '../../../jail/user-range.js';

const DEFAULT = { first: 2_130_706_432, count: 65_536 };
const USERS = 'root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/bash\nbroken\n';
const SUBORDINATES = 'alice:100000:65536\ntsvm:1000000:100\n';
const FORM = 'FIRST:COUNT, user IDs that no other user has';

test.each([
  ['1000:1', { first: 1000, count: 1 }],
  ['4294967294:1', { first: 4_294_967_294, count: 1 }],
  ['4294967295:1', undefined],
  ['4294967294:2', undefined],
  ['65535:1', undefined],
  ['60000:65536', undefined],
  ['0:10', undefined],
  ['1000:0', undefined],
  ['1000', undefined],
  ['1000:-1', undefined],
  ['1000:1:1', undefined],
  ['a:b', undefined],
  ['', undefined],
])('%j is the range %j', (word, range) => {
  expect(parseRange(word)).toEqual(range);
});

test.each([
  ['nothing is set', undefined, '', '', DEFAULT],
  ['another user has subordinate IDs', undefined, 'alice:100000:65536\n', USERS, DEFAULT],
  ['tsvm has subordinate IDs', undefined, SUBORDINATES, USERS, { first: 1_000_000, count: 100 }],
  ['the environment has a range', '61184:10', SUBORDINATES, USERS, { first: 61_184, count: 10 }],
  ['the environment has no range', 'many', '', '', `TSVM_UIDS is "many": use ${FORM}`],
  ['the line of tsvm is damaged', undefined, 'tsvm:x:1\n', '', `/etc/subuid, user tsvm is "x:1": use ${FORM}`],
  ['a user is in the range', '900:200', '', USERS, `user 1000 is alice: set TSVM_UIDS to ${FORM}`],
  [
    'subordinate IDs of another user are in the range',
    '165535:10',
    SUBORDINATES,
    USERS,
    `user IDs from 165535 are those of alice in /etc/subuid: set TSVM_UIDS to ${FORM}`,
  ],
  ['the range is beside them', '165536:10', SUBORDINATES, USERS, { first: 165_536, count: 10 }],
  ['names are hostile', '7:1', '', 'a\u001b[2J:x:7:7::/:/bin/sh\n', `user 7 is a?[2J: set TSVM_UIDS to ${FORM}`],
])('%s', (_, word, subordinates, users, expected) => {
  expect(chooseRange(word, { subordinates, users })).toEqual(expected);
});
