package exit

import "relaymux/mux/buf"

// fits reports whether an owner that holds held bytes may have n more. Nobody
// may hold more than a quarter of what is free: with k greedy owners each ends
// up with limit/(4+k), and four times as much stays free for those who come
// next. So there is neither a queue for memory nor anybody to wait for. A race
// between two owners costs a buffer or two.
func fits(b *buf.Budget, held int64, n int) bool { return held+int64(n) <= b.Free()/4 }
