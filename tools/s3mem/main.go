// In-memory S3 server with fault injection: a null endpoint for benchmarks and a fault source for tests.
package main

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

type obj struct {
	data []byte
	size int64
	etag string
	mod  time.Time
	hdr  map[string]string
}
type upload struct {
	key   string
	parts map[int]*obj
	hdr   map[string]string
}
type bucket struct {
	m      map[string]*obj
	keys   []string
	sorted bool
	ups    map[string]*upload
}
type fault struct {
	Op     string `json:"op"`
	Skip   int    `json:"skip"`
	Times  int    `json:"times"`
	Action string `json:"action"`
	Ms     int    `json:"ms"`
	Status int    `json:"status"` // of action "answer", with Code; Shift moves its Date header by so many seconds
	Code   string `json:"code"`
	Shift  int    `json:"shift"`
	seen   int
}
type entry struct {
	T      float64           `json:"t"`
	Op     string            `json:"op"`
	Path   string            `json:"path"`
	Query  string            `json:"query"`
	Status int               `json:"status"`
	Bytes  int64             `json:"bytes"`
	Fault  string            `json:"fault,omitempty"`
	Hdr    map[string]string `json:"hdr,omitempty"`
}

var (
	mu      sync.Mutex
	buckets = map[string]*bucket{}
	faults  []*fault
	logs    []entry
	counts  = map[string]int{}
	keepLog = false
	null    = flag.Bool("null", false, "discard bodies above 1 KiB")
	nomd5   = flag.Bool("nomd5", false, "")
	delay   = flag.Int("delay", 0, "ms per request")
	server  = flag.String("server", "", "Server header")
	start   = time.Now()
	upn     int
)

const kept = 1024 // bytes of a body that -null keeps at most

func getb(n string) *bucket {
	b := buckets[n]
	if b == nil {
		b = &bucket{m: map[string]*obj{}, ups: map[string]*upload{}}
		buckets[n] = b
	}
	return b
}
func (b *bucket) put(k string, o *obj) {
	if _, ok := b.m[k]; !ok {
		b.sorted = false
		b.keys = append(b.keys, k)
	}
	b.m[k] = o
}
func (b *bucket) sort() {
	if !b.sorted {
		ks := b.keys[:0]
		for k := range b.m {
			ks = append(ks, k)
		}
		sort.Strings(ks)
		b.keys = ks
		b.sorted = true
	}
}

func serr(w http.ResponseWriter, code int, c string) int {
	w.Header().Set("Content-Type", "application/xml")
	body := fmt.Sprintf("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>%s</Code><Message>%s</Message><RequestId>1</RequestId></Error>", c, c)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	io.WriteString(w, body)
	return code
}

func opname(r *http.Request, bk, key string) string {
	q := r.URL.Query()
	has := func(s string) bool { _, ok := q[s]; return ok }
	switch r.Method {
	case "GET":
		if key == "" {
			if bk == "" {
				return "ListBuckets"
			}
			if has("uploads") {
				return "ListMultipartUploads"
			}
			if has("location") {
				return "GetBucketLocation"
			}
			if has("versioning") || has("object-lock") || has("policy") || has("acl") || has("lifecycle") {
				return "GetBucketX"
			}
			return "ListObjects"
		}
		if has("uploadId") {
			return "ListParts"
		}
		if has("tagging") || has("acl") {
			return "GetObjectX"
		}
		return "GetObject"
	case "HEAD":
		if key == "" {
			return "HeadBucket"
		}
		return "HeadObject"
	case "PUT":
		if key == "" {
			return "CreateBucket"
		}
		if has("uploadId") && r.Header.Get("x-amz-copy-source") != "" {
			return "UploadPartCopy"
		}
		if has("uploadId") {
			return "UploadPart"
		}
		if r.Header.Get("x-amz-copy-source") != "" {
			return "CopyObject"
		}
		return "PutObject"
	case "POST":
		if has("uploads") {
			return "CreateMultipartUpload"
		}
		if has("uploadId") {
			return "CompleteMultipartUpload"
		}
		if has("delete") {
			return "DeleteObjects"
		}
	case "DELETE":
		if has("uploadId") {
			return "AbortMultipartUpload"
		}
		return "DeleteObject"
	}
	return r.Method
}

var bufs = sync.Pool{New: func() any { b := make([]byte, 1<<18); return &b }}

func body(r *http.Request) (*obj, error) {
	var rd io.Reader = r.Body
	if strings.HasPrefix(r.Header.Get("x-amz-content-sha256"), "STREAMING-") {
		rd = &chunked{br: bufio.NewReaderSize(r.Body, 1<<16)}
	}
	o := &obj{mod: time.Now()}
	if *null { // small ones are kept: clients read their own notes back
		head, err := io.ReadAll(io.LimitReader(rd, kept+1))
		if err == nil && len(head) <= kept {
			s := md5.Sum(head)
			o.data, o.size, o.etag = head, int64(len(head)), hex.EncodeToString(s[:])
			return o, nil
		}
		bp := bufs.Get().(*[]byte)
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{rd}, *bp)
		bufs.Put(bp)
		n += int64(len(head))
		o.size = n
		o.etag = fmt.Sprintf("%032x", n)
		if err == nil && r.ContentLength >= 0 && rd == r.Body && n != r.ContentLength {
			err = io.ErrUnexpectedEOF
		}
		return o, err
	}
	var bb bytes.Buffer
	if r.ContentLength > 0 {
		bb.Grow(int(r.ContentLength) + 512)
	}
	_, err := bb.ReadFrom(rd)
	if err != nil {
		return nil, err
	}
	o.data = bb.Bytes()
	o.size = int64(len(o.data))
	if *nomd5 {
		o.etag = fmt.Sprintf("%032x", o.size)
	} else {
		s := md5.Sum(o.data)
		o.etag = hex.EncodeToString(s[:])
	}
	return o, nil
}

type chunked struct {
	br   *bufio.Reader
	left int64
	done bool
}

func (c *chunked) Read(p []byte) (int, error) {
	if c.done {
		return 0, io.EOF
	}
	if c.left == 0 {
		l, err := c.br.ReadString('\n')
		if err != nil {
			return 0, err
		}
		l = strings.TrimSpace(l)
		if l == "" {
			l, err = c.br.ReadString('\n')
			if err != nil {
				return 0, err
			}
			l = strings.TrimSpace(l)
		}
		if i := strings.IndexByte(l, ';'); i >= 0 {
			l = l[:i]
		}
		n, err := strconv.ParseInt(l, 16, 64)
		if err != nil {
			return 0, err
		}
		if n == 0 {
			io.Copy(io.Discard, c.br)
			c.done = true
			return 0, io.EOF
		}
		c.left = n
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.br.Read(p)
	c.left -= int64(n)
	return n, err
}

func hdrs(r *http.Request) map[string]string {
	m := map[string]string{}
	for k, v := range r.Header {
		lk := strings.ToLower(k)
		if strings.HasPrefix(lk, "x-amz-meta-") || lk == "content-type" || lk == "content-encoding" || lk == "cache-control" || lk == "content-disposition" || lk == "content-language" {
			if lk == "content-encoding" && strings.Contains(v[0], "aws-chunked") {
				continue
			}
			m[k] = v[0]
		}
	}
	return m
}

func hijackReset(w http.ResponseWriter) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	if t, ok := c.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	c.Close()
}

func handle(w http.ResponseWriter, r *http.Request) {
	p := strings.TrimPrefix(r.URL.Path, "/")
	bk, key := p, ""
	if i := strings.IndexByte(p, '/'); i >= 0 {
		bk, key = p[:i], p[i+1:]
	}
	if bk == "_ctl" {
		ctl(w, r, key)
		return
	}
	op := opname(r, bk, key)
	if *server != "" {
		w.Header().Set("Server", *server)
	}
	if *delay > 0 {
		time.Sleep(time.Duration(*delay) * time.Millisecond)
	}
	var f *fault
	mu.Lock()
	counts[op]++
	for _, x := range faults {
		if x.Op == op {
			x.seen++
			if x.seen > x.Skip && x.seen <= x.Skip+x.Times {
				f = x
				break
			}
		}
	}
	mu.Unlock()
	e := entry{T: time.Since(start).Seconds(), Op: op, Path: p, Query: r.URL.RawQuery}
	if keepLog {
		e.Hdr = map[string]string{}
		for k, v := range r.Header {
			e.Hdr[strings.ToLower(k)] = v[0]
		}
	}
	defer func() {
		if keepLog {
			mu.Lock()
			logs = append(logs, e)
			mu.Unlock()
		}
	}()
	if f != nil {
		e.Fault = f.Action
		switch f.Action {
		case "500":
			io.Copy(io.Discard, r.Body)
			e.Status = serr(w, 500, "InternalError")
			return
		case "answer":
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Date", time.Now().Add(time.Duration(f.Shift)*time.Second).UTC().Format(http.TimeFormat))
			e.Status = serr(w, f.Status, f.Code)
			return
		case "cut": // a whole answer whose document ends in the middle
			b := "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult><IsTruncated>false</IsTruncated><Contents>"
			w.WriteHeader(200)
			io.WriteString(w, b)
			e.Status = 200
			return
		case "vague": // a page that does not say whether it is the last
			w.WriteHeader(200)
			io.WriteString(w, "<ListBucketResult></ListBucketResult>")
			e.Status = 200
			return
		case "unordered":
			w.WriteHeader(200)
			io.WriteString(w, "<ListBucketResult><IsTruncated>false</IsTruncated>")
			for _, k := range []string{"b/x", "b-x"} {
				fmt.Fprintf(w, `<Contents><Key>%s</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>"e"</ETag><Size>1</Size></Contents>`, k)
			}
			io.WriteString(w, "</ListBucketResult>")
			e.Status = 200
			return
		case "503":
			io.Copy(io.Discard, r.Body)
			e.Status = serr(w, 503, "SlowDown")
			return
		case "403":
			io.Copy(io.Discard, r.Body)
			e.Status = serr(w, 403, "AccessDenied")
			return
		case "400timeout":
			io.Copy(io.Discard, r.Body)
			e.Status = serr(w, 400, "RequestTimeout")
			return
		case "409":
			io.Copy(io.Discard, r.Body)
			e.Status = serr(w, 409, "ConditionalRequestConflict")
			return
		case "reset": // before the body is read
			hijackReset(w)
			return
		case "resetmid":
			io.CopyN(io.Discard, r.Body, 1<<20)
			hijackReset(w)
			return
		case "resetafter": // whole body read, answer lost, nothing stored
			io.Copy(io.Discard, r.Body)
			hijackReset(w)
			return
		case "hang":
			io.Copy(io.Discard, r.Body)
			time.Sleep(time.Duration(f.Ms) * time.Millisecond)
			hijackReset(w)
			return
		case "200err": // Complete answers 200 with an Error body
			io.Copy(io.Discard, r.Body)
			b := "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>InternalError</Code><Message>We encountered an internal error. Please try again.</Message></Error>"
			w.WriteHeader(200)
			io.WriteString(w, b)
			e.Status = 200
			return
		}
	}
	mu.Lock()
	b := getb(bk)
	mu.Unlock()
	q := r.URL.Query()
	switch op {
	case "ListBuckets":
		w.Header().Set("Content-Type", "application/xml")
		io.WriteString(w, "<ListAllMyBucketsResult><Buckets></Buckets></ListAllMyBucketsResult>")
	case "CreateBucket", "HeadBucket":
		w.Header().Set("x-amz-bucket-region", "us-east-1")
		w.WriteHeader(200)
	case "GetBucketLocation":
		io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></LocationConstraint>`)
	case "GetBucketX":
		e.Status = serr(w, 404, "NoSuchConfiguration")
		return
	case "GetObjectX":
		io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><Tagging><TagSet></TagSet></Tagging>`)
	case "PutObject":
		o, err := body(r)
		if err != nil {
			e.Fault += " bodyerr"
			e.Status = serr(w, 400, "IncompleteBody")
			return
		}
		e.Bytes = o.size
		o.hdr = hdrs(r)
		mu.Lock()
		cur := b.m[key]
		if r.Header.Get("If-None-Match") == "*" && cur != nil {
			mu.Unlock()
			e.Status = serr(w, 412, "PreconditionFailed")
			return
		}
		if m := r.Header.Get("If-Match"); m != "" && (cur == nil || strings.Trim(m, "\"") != cur.etag) {
			mu.Unlock()
			e.Status = serr(w, 412, "PreconditionFailed")
			return
		}
		b.put(key, o)
		mu.Unlock()
		if f != nil && f.Action == "storedlost" {
			hijackReset(w)
			return
		}
		w.Header().Set("ETag", "\""+o.etag+"\"")
		w.WriteHeader(200)
	case "CopyObject":
		src, _ := url.PathUnescape(strings.TrimPrefix(r.Header.Get("x-amz-copy-source"), "/"))
		i := strings.IndexByte(src, '/')
		mu.Lock()
		o := getb(src[:i]).m[src[i+1:]]
		if o != nil {
			if f != nil && f.Action == "swap" { // the source changes while it is copied, and the condition is ignored
				getb(src[:i]).m[src[i+1:]] = &obj{data: []byte("other"), size: 5, etag: "other", mod: time.Now()}
			}
			b.put(key, o)
		}
		mu.Unlock()
		if o == nil {
			e.Status = serr(w, 404, "NoSuchKey")
			return
		}
		fmt.Fprintf(w, "<CopyObjectResult><LastModified>%s</LastModified><ETag>\"%s\"</ETag></CopyObjectResult>", o.mod.UTC().Format("2006-01-02T15:04:05.000Z"), o.etag)
	case "UploadPartCopy":
		src, _ := url.PathUnescape(strings.TrimPrefix(r.Header.Get("x-amz-copy-source"), "/"))
		i := strings.IndexByte(src, '/')
		var lo, hi int64
		fmt.Sscanf(r.Header.Get("x-amz-copy-source-range"), "bytes=%d-%d", &lo, &hi)
		n, _ := strconv.Atoi(q.Get("partNumber"))
		mu.Lock()
		o, u := getb(src[:i]).m[src[i+1:]], b.ups[q.Get("uploadId")]
		m := strings.Trim(r.Header.Get("x-amz-copy-source-if-match"), "\"")
		if o == nil || u == nil || (m != "" && m != o.etag) {
			mu.Unlock()
			e.Status = serr(w, 412, "PreconditionFailed")
			return
		}
		part := &obj{data: o.data[lo : hi+1], size: hi + 1 - lo, mod: time.Now()}
		s := md5.Sum(part.data)
		part.etag = hex.EncodeToString(s[:])
		u.parts[n] = part
		mu.Unlock()
		fmt.Fprintf(w, "<CopyPartResult><LastModified>%s</LastModified><ETag>\"%s\"</ETag></CopyPartResult>", part.mod.UTC().Format("2006-01-02T15:04:05.000Z"), part.etag)
	case "GetObject", "HeadObject":
		mu.Lock()
		o := b.m[key]
		mu.Unlock()
		if o == nil {
			e.Status = serr(w, 404, "NoSuchKey")
			return
		}
		if m := r.Header.Get("If-Match"); m != "" && strings.Trim(m, "\"") != o.etag {
			e.Status = serr(w, 412, "PreconditionFailed")
			return
		}
		if op == "GetObject" && o.size != int64(len(o.data)) {
			e.Status = serr(w, 410, "Discarded")
			return
		}
		lo, hi, code := int64(0), o.size, 200
		if rg := r.Header.Get("Range"); strings.HasPrefix(rg, "bytes=") {
			ab := strings.SplitN(rg[6:], "-", 2)
			if ab[0] == "" {
				n, _ := strconv.ParseInt(ab[1], 10, 64)
				lo = o.size - n
			} else {
				lo, _ = strconv.ParseInt(ab[0], 10, 64)
				if ab[1] != "" {
					h, _ := strconv.ParseInt(ab[1], 10, 64)
					if h+1 < hi {
						hi = h + 1
					}
				}
			}
			if lo >= o.size {
				e.Status = serr(w, 416, "InvalidRange")
				return
			}
			code = 206
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", lo, hi-1, o.size))
		}
		for k, v := range o.hdr {
			w.Header().Set(k, v)
		}
		w.Header().Set("ETag", "\""+o.etag+"\"")
		w.Header().Set("Last-Modified", o.mod.UTC().Format(http.TimeFormat))
		w.Header().Set("Accept-Ranges", "bytes")
		w.Header().Set("Content-Length", strconv.FormatInt(hi-lo, 10))
		e.Status = code
		w.WriteHeader(code)
		if op == "GetObject" {
			e.Bytes = hi - lo
			if f != nil && (f.Action == "short" || f.Action == "shortfin" || f.Action == "shorthang") {
				w.Write(o.data[lo : lo+(hi-lo)/2])
				w.(http.Flusher).Flush()
				if f.Action == "short" {
					hijackReset(w)
				} else if f.Action == "shorthang" {
					time.Sleep(time.Duration(f.Ms) * time.Millisecond)
					hijackReset(w)
				} else {
					c, _, err := w.(http.Hijacker).Hijack()
					if err == nil {
						c.Close()
					}
				}
				return
			}
			w.Write(o.data[lo:hi])
		}
		return
	case "DeleteObject":
		mu.Lock()
		delete(b.m, key)
		b.sorted = false
		mu.Unlock()
		w.WriteHeader(204)
	case "DeleteObjects":
		var d struct{ Object []struct{ Key string } }
		xml.NewDecoder(r.Body).Decode(&d)
		mu.Lock()
		for _, o := range d.Object {
			delete(b.m, o.Key)
		}
		b.sorted = false
		mu.Unlock()
		io.WriteString(w, `<DeleteResult></DeleteResult>`)
	case "ListObjects":
		list(w, q, bk, b)
	case "CreateMultipartUpload":
		mu.Lock()
		upn++
		id := fmt.Sprintf("up%08d", upn)
		b.ups[id] = &upload{key: key, parts: map[int]*obj{}, hdr: hdrs(r)}
		mu.Unlock()
		w.Header().Set("Content-Type", "application/xml")
		fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><InitiateMultipartUploadResult><Bucket>%s</Bucket><Key>%s</Key><UploadId>%s</UploadId></InitiateMultipartUploadResult>`, bk, esc(key), id)
	case "UploadPart":
		o, err := body(r)
		if err != nil {
			e.Fault += " bodyerr"
			e.Status = serr(w, 400, "IncompleteBody")
			return
		}
		e.Bytes = o.size
		n, _ := strconv.Atoi(q.Get("partNumber"))
		mu.Lock()
		u := b.ups[q.Get("uploadId")]
		if u != nil {
			u.parts[n] = o
		}
		mu.Unlock()
		if u == nil {
			e.Status = serr(w, 404, "NoSuchUpload")
			return
		}
		w.Header().Set("ETag", "\""+o.etag+"\"")
		for k, v := range r.Header {
			if strings.HasPrefix(strings.ToLower(k), "x-amz-checksum-") {
				w.Header().Set(k, v[0])
			}
		}
		w.WriteHeader(200)
	case "CompleteMultipartUpload":
		var d struct {
			Part []struct {
				PartNumber int
				ETag       string
			}
		}
		xml.NewDecoder(r.Body).Decode(&d)
		mu.Lock()
		u := b.ups[q.Get("uploadId")]
		if u == nil {
			mu.Unlock()
			e.Status = serr(w, 404, "NoSuchUpload")
			return
		}
		if r.Header.Get("If-None-Match") == "*" && b.m[key] != nil {
			mu.Unlock()
			e.Status = serr(w, 412, "PreconditionFailed")
			return
		}
		o := &obj{mod: time.Now(), hdr: u.hdr}
		h := md5.New()
		for i, pt := range d.Part {
			x := u.parts[pt.PartNumber]
			if x == nil || x.etag != strings.Trim(pt.ETag, "\"") {
				mu.Unlock()
				e.Status = serr(w, 400, "InvalidPart")
				return
			}
			if x.size < 5<<20 && i < len(d.Part)-1 {
				mu.Unlock()
				e.Status = serr(w, 400, "EntityTooSmall")
				return
			}
			o.size += x.size
			o.data = append(o.data, x.data...)
			bb, _ := hex.DecodeString(x.etag)
			h.Write(bb)
		}
		if len(d.Part) == 0 {
			mu.Unlock()
			e.Status = serr(w, 400, "MalformedXML")
			return
		}
		o.etag = fmt.Sprintf("%s-%d", hex.EncodeToString(h.Sum(nil)), len(d.Part))
		b.put(key, o)
		delete(b.ups, q.Get("uploadId"))
		mu.Unlock()
		e.Bytes = o.size
		if f != nil && f.Action == "storedlost" {
			hijackReset(w)
			return
		}
		w.Header().Set("Content-Type", "application/xml")
		fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><CompleteMultipartUploadResult><Location>x</Location><Bucket>%s</Bucket><Key>%s</Key><ETag>"%s"</ETag></CompleteMultipartUploadResult>`, bk, esc(key), o.etag)
	case "AbortMultipartUpload":
		mu.Lock()
		_, ok := b.ups[q.Get("uploadId")]
		if f == nil || f.Action != "zombie" { // zombie: a part on its way keeps the upload alive
			delete(b.ups, q.Get("uploadId"))
		}
		mu.Unlock()
		if !ok {
			e.Status = serr(w, 404, "NoSuchUpload")
			return
		}
		w.WriteHeader(204)
	case "ListParts":
		mu.Lock()
		u := b.ups[q.Get("uploadId")]
		mu.Unlock()
		if u == nil {
			e.Status = serr(w, 404, "NoSuchUpload")
			return
		}
		io.WriteString(w, "<ListPartsResult><IsTruncated>false</IsTruncated></ListPartsResult>")
	case "ListMultipartUploads":
		mu.Lock()
		fmt.Fprintf(w, "<ListMultipartUploadsResult><Bucket>%s</Bucket><IsTruncated>false</IsTruncated>", bk)
		for id, u := range b.ups {
			fmt.Fprintf(w, "<Upload><Key>%s</Key><UploadId>%s</UploadId><Initiated>2026-01-01T00:00:00.000Z</Initiated></Upload>", esc(u.key), id)
		}
		mu.Unlock()
		io.WriteString(w, "</ListMultipartUploadsResult>")
	default:
		e.Status = serr(w, 501, "NotImplemented")
		return
	}
	e.Status = 200
}

func esc(s string) string {
	var b bytes.Buffer
	xml.EscapeText(&b, []byte(s))
	return b.String()
}

func s3enc(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(url.QueryEscape(s), "+", "%20"), "%2F", "/")
}

func list(w http.ResponseWriter, q url.Values, bk string, b *bucket) {
	mu.Lock()
	b.sort()
	keys := b.keys
	mu.Unlock()
	prefix, after, delim := q.Get("prefix"), q.Get("start-after"), q.Get("delimiter")
	v2 := q.Get("list-type") == "2"
	if !v2 {
		after = q.Get("marker")
	}
	if t := q.Get("continuation-token"); t != "" {
		x, _ := hex.DecodeString(t)
		after = string(x)
	}
	max := 1000
	if m := q.Get("max-keys"); m != "" {
		max, _ = strconv.Atoi(m)
		if max > 1000 {
			max = 1000
		}
	}
	enc := esc
	if q.Get("encoding-type") == "url" {
		enc = s3enc
	}
	lo := prefix
	if after > lo {
		lo = after
	}
	i := sort.SearchStrings(keys, lo)
	for i < len(keys) && after != "" && keys[i] <= after {
		i++
	}
	var out bytes.Buffer
	out.Grow(300000)
	n := 0
	trunc := false
	last := ""
	lastp := ""
	var cps []string
	mu.Lock()
	for ; i < len(keys); i++ {
		k := keys[i]
		if !strings.HasPrefix(k, prefix) {
			if k > prefix {
				break
			}
			continue
		}
		if delim != "" {
			if j := strings.Index(k[len(prefix):], delim); j >= 0 {
				cp := k[:len(prefix)+j+len(delim)]
				if cp == lastp || (after != "" && strings.HasPrefix(after, cp)) {
					continue
				}
				if n == max {
					trunc = true
					break
				}
				cps = append(cps, cp)
				lastp = cp
				last = cp + "\xff"
				n++
				continue
			}
		}
		if n == max {
			trunc = true
			break
		}
		o := b.m[k]
		if o == nil {
			continue
		}
		out.WriteString("<Contents><Key>")
		out.WriteString(enc(k))
		out.WriteString("</Key><LastModified>")
		out.WriteString(o.mod.UTC().Format("2006-01-02T15:04:05.000Z"))
		out.WriteString("</LastModified><ETag>&quot;")
		out.WriteString(o.etag)
		out.WriteString("&quot;</ETag><Size>")
		out.WriteString(strconv.FormatInt(o.size, 10))
		out.WriteString("</Size><StorageClass>STANDARD</StorageClass></Contents>")
		last = k
		n++
	}
	mu.Unlock()
	w.Header().Set("Content-Type", "application/xml")
	var h bytes.Buffer
	h.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>` + bk + `</Name><Prefix>` + enc(prefix) + `</Prefix><KeyCount>` + strconv.Itoa(n) + `</KeyCount><MaxKeys>` + strconv.Itoa(max) + `</MaxKeys>`)
	if q.Get("encoding-type") == "url" {
		h.WriteString("<EncodingType>url</EncodingType>")
	}
	if delim != "" {
		h.WriteString("<Delimiter>" + delim + "</Delimiter>")
	}
	fmt.Fprintf(&h, "<IsTruncated>%v</IsTruncated>", trunc)
	if trunc {
		if v2 {
			h.WriteString("<NextContinuationToken>" + hex.EncodeToString([]byte(last)) + "</NextContinuationToken>")
		} else {
			h.WriteString("<NextMarker>" + enc(last) + "</NextMarker>")
		}
	}
	h.Write(out.Bytes())
	for _, c := range cps {
		h.WriteString("<CommonPrefixes><Prefix>" + enc(c) + "</Prefix></CommonPrefixes>")
	}
	h.WriteString("</ListBucketResult>")
	w.Header().Set("Content-Length", strconv.Itoa(h.Len()))
	w.Write(h.Bytes())
}

func ctl(w http.ResponseWriter, r *http.Request, key string) {
	mu.Lock()
	defer mu.Unlock()
	switch key {
	case "fault":
		faults = nil
		json.NewDecoder(r.Body).Decode(&faults)
	case "reset":
		faults = nil
		logs = nil
		counts = map[string]int{}
		buckets = map[string]*bucket{}
		keepLog = true
	case "clear":
		faults = nil
		logs = nil
		counts = map[string]int{}
		keepLog = r.URL.Query().Get("log") == "1"
	case "log":
		json.NewEncoder(w).Encode(logs)
	case "counts":
		json.NewEncoder(w).Encode(counts)
	case "state":
		out := map[string]any{}
		for n, b := range buckets {
			ks := map[string]any{}
			if len(b.m) < 50 {
				for k, o := range b.m {
					ks[k] = []any{o.size, o.etag}
				}
			}
			us := map[string]any{}
			for id, u := range b.ups {
				us[id] = fmt.Sprintf("%s: %d parts", u.key, len(u.parts))
			}
			out[n] = map[string]any{"n": len(b.m), "objects": ks, "uploads": us}
		}
		json.NewEncoder(w).Encode(out)
	case "seed": // n, min, max, prefix, bucket
		q := r.URL.Query()
		n, _ := strconv.Atoi(q.Get("n"))
		mn, _ := strconv.Atoi(q.Get("min"))
		mx, _ := strconv.Atoi(q.Get("max"))
		b := getb(q.Get("bucket"))
		x := uint64(88172645463325252)
		for i := 0; i < n; i++ {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			sz := mn
			if mx > mn {
				sz += int(x % uint64(mx-mn))
			}
			d := make([]byte, sz)
			y := x
			for j := 0; j+8 <= sz; j += 8 {
				y ^= y << 13
				y ^= y >> 7
				y ^= y << 17
				d[j] = byte(y)
				d[j+1] = byte(y >> 8)
				d[j+2] = byte(y >> 16)
				d[j+3] = byte(y >> 24)
			}
			s := md5.Sum(d)
			b.put(fmt.Sprintf("%s%03d/obj-%07d.bin", q.Get("prefix"), i/100, i), &obj{data: d, size: int64(sz), etag: hex.EncodeToString(s[:]), mod: time.Now().Add(-time.Hour)})
		}
	}
}

func main() {
	addr := flag.String("addr", "127.0.0.1:9900", "")
	cert := flag.String("cert", "", "")
	key := flag.String("key", "", "")
	cca := flag.String("clientca", "", "")
	flag.Parse()
	s := &http.Server{Addr: *addr, Handler: http.HandlerFunc(handle), ErrorLog: log.New(io.Discard, "", 0)}
	s.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	if *cert != "" {
		if *cca != "" {
			pool := x509.NewCertPool()
			pem, _ := os.ReadFile(*cca)
			pool.AppendCertsFromPEM(pem)
			s.TLSConfig = &tls.Config{ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
		}
		log.Fatal(s.ListenAndServeTLS(*cert, *key))
	}
	log.Fatal(s.ListenAndServe())
}
