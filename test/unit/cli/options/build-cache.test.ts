// --cache-from and --cache-to of `tsvm build`: Docker's words for a local cache.
import { expect, test } from 'vitest';
import { parseCacheFrom, parseCacheTo } from '../../../../cli/options/build-cache.js';

test('a folder is read, and written with a mode', () => {
  expect(parseCacheFrom('type=local,src=/a=b')).toBe('/a=b');
  expect(parseCacheTo('dest=d,type=local')).toEqual({ folder: 'd', mode: 'min' });
  expect(parseCacheTo('type=local,dest=d,mode=max')).toEqual({ folder: 'd', mode: 'max' });
});

test.each<[(text: string) => unknown, string, string]>([
  [parseCacheFrom, '', "unknown option ''"],
  [parseCacheFrom, 'user/app:cache', "unknown option 'user/app:cache'"],
  [parseCacheFrom, 'type=registry,ref=user/app', "unknown option 'ref=user/app'"],
  [parseCacheFrom, 'type=gha', 'expected type=local,src=DIR'],
  [parseCacheFrom, 'type=local', 'expected type=local,src=DIR'],
  [parseCacheFrom, 'type=local,src=', 'expected type=local,src=DIR'],
  [parseCacheFrom, 'type=local,src=a,src=b', "'src' was given twice"],
  [parseCacheTo, 'type=local,src=a', "unknown option 'src=a'"],
  [parseCacheTo, 'type=inline,dest=a', 'expected type=local,dest=DIR'],
  [parseCacheTo, 'type=local,dest=a,mode=all', 'expected mode=min|max'],
])('%s of %s is refused', (parse, text, why) => expect(() => parse(text)).toThrow(why));
