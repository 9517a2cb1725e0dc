package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	ordersKey = "/registry/configmaps/default/orders"
	shop      = "shop"
	shopSize  = 40 // objects in the namespace
	// orderPause lies between two orders: some 20 a second, so that what is lost can be counted.
	orderPause = 50 * time.Millisecond
)

// order is one write of the second act: a number that grows, and what etcd answered. Who restores a point of the past must find
// the newest order of then.
type order struct {
	number   int64
	revision int64
	hash     uint32    // HashKV of the whole store at that revision
	at       time.Time // when etcd had acknowledged it
}

// orders is the witness of the second act: it writes one order after the other, and remembers them all.
type orders struct {
	client *clientv3.Client
	end    func() // of the writing
	done   chan struct{}

	mu     sync.Mutex
	all    []order
	failed error
}

// takeOrders writes in a goroutine until close is called or a write fails.
func takeOrders(ctx context.Context, client *clientv3.Client) *orders {
	enough := make(chan struct{})
	o := &orders{client: client, end: sync.OnceFunc(func() { close(enough) }), done: make(chan struct{})}
	go func() {
		defer close(o.done)
		tick := time.NewTicker(orderPause)
		defer tick.Stop()
		for o.take(ctx) {
			select {
			case <-enough:
				return
			case <-tick.C:
			}
		}
	}()
	return o
}

// take writes one order, and reports whether another one may follow.
func (o *orders) take(ctx context.Context) bool {
	n, err := writeOrder(ctx, o.client, int64(len(o.all)+1)) // nobody else changes it
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		o.failed = fmt.Errorf("write order %d: %w", n.number, err)
		return false
	}
	o.all = append(o.all, n)
	return true
}

// writeOrder also has etcd hash what it holds then. Of a store as small as this one that takes milliseconds.
func writeOrder(ctx context.Context, client *clientv3.Client, number int64) (order, error) {
	value := fmt.Sprintf(`{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"orders","namespace":"default"},"data":{"newest":"%d"}}`, number)
	n := order{number: number}
	answer, err := client.Put(ctx, ordersKey, value)
	if err != nil {
		return n, err
	}
	n.revision, n.at = answer.Header.Revision, time.Now()
	n.hash, err = hashAt(ctx, client, n.revision)
	return n, err
}

func hashAt(ctx context.Context, client *clientv3.Client, revision int64) (uint32, error) {
	answer, err := client.HashKV(ctx, client.Endpoints()[0], revision)
	if err != nil {
		return 0, fmt.Errorf("ask for the hash at revision %d: %w", revision, err)
	}
	return answer.Hash, nil
}

// close ends the writing. A request under way is finished: whether an abandoned one took effect, nobody could say.
func (o *orders) close() error {
	o.end()
	<-o.done
	return o.failed
}

// newest is the last order up to a revision; the zero order where there is none.
func (o *orders) newest(revision int64) order {
	o.mu.Lock()
	defer o.mu.Unlock()
	var newest order
	for _, n := range o.all {
		if n.revision <= revision {
			newest = n
		}
	}
	return newest
}

// openShop makes the namespace that will be deleted by mistake, and returns its last revision.
func openShop(ctx context.Context, client *clientv3.Client, g *generator) (revision int64, err error) {
	all := []object{{key: "/registry/namespaces/" + shop, value: []byte(`{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"shop"}}`)}}
	for i := range shopSize {
		all = append(all, g.deployment(shop, fmt.Sprintf("shelf-%02d", i)))
	}
	for _, o := range all {
		answer, err := client.Put(ctx, o.key, string(o.value))
		if err != nil {
			return 0, fmt.Errorf("create %s: %w", o.key, err)
		}
		revision = answer.Header.Revision
	}
	return revision, nil
}

// closeShop deletes the namespace as its controller does, what is in it first, and returns the revision with which that began.
func closeShop(ctx context.Context, client *clientv3.Client) (revision, objects int64, err error) {
	first, err := client.Delete(ctx, "/registry/deployments/"+shop+"/", clientv3.WithPrefix())
	if err != nil {
		return 0, 0, fmt.Errorf("delete what is in namespace %s: %w", shop, err)
	}
	last, err := client.Delete(ctx, "/registry/namespaces/"+shop)
	if err != nil {
		return 0, 0, fmt.Errorf("delete namespace %s: %w", shop, err)
	}
	return first.Header.Revision, first.Deleted + last.Deleted, nil
}

// shopObjects counts what a running etcd has of the namespace.
func shopObjects(ctx context.Context, client *clientv3.Client) (int64, error) {
	var sum int64
	for _, prefix := range []string{"/registry/namespaces/" + shop, "/registry/deployments/" + shop + "/"} {
		answer, err := client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil {
			return 0, fmt.Errorf("count %s: %w", prefix, err)
		}
		sum += answer.Count
	}
	return sum, nil
}

// newestOrder is the newest order of a running etcd.
func newestOrder(ctx context.Context, client *clientv3.Client) (order, error) {
	answer, err := client.Get(ctx, ordersKey)
	if err != nil {
		return order{}, fmt.Errorf("read the newest order: %w", err)
	}
	if len(answer.Kvs) != 1 {
		return order{}, errors.Join(errDiffers, errors.New("there are no orders"))
	}
	var stored struct {
		Data struct {
			Newest int64 `json:"newest,string"`
		} `json:"data"`
	}
	if err := json.Unmarshal(answer.Kvs[0].Value, &stored); err != nil {
		return order{}, errors.Join(errDiffers, fmt.Errorf("read the newest order: %w", err))
	}
	n := order{number: stored.Data.Newest, revision: answer.Kvs[0].ModRevision}
	n.hash, err = hashAt(ctx, client, n.revision)
	return n, err
}
