// Judges a running Junctor by what a service written in Go sees of it: answers, streams, typed errors, deadlines, cancellation.
//
// It is built from the protos alone, with Go's own gRPC, and knows nothing of how the server is made. One line for each check.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "judge/junctorv1"
)

const (
	patience    = 30 * time.Second
	shortWait   = 700 * time.Millisecond
	many        = 100
	answer      = "Hello, you."
	completeRPC = "/junctor.v1.RouterService/Complete"
)

type judge struct {
	model   string
	key     string
	channel *grpc.ClientConn
	router  pb.RouterServiceClient
}

func main() {
	channel, err := grpc.NewClient(os.Getenv("JUNCTOR_TARGET"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fmt.Println("FAIL channel:", err)
		os.Exit(1)
	}
	defer channel.Close()
	judging := &judge{os.Getenv("JUNCTOR_MODEL"), os.Getenv("JUNCTOR_API_KEY"), channel, pb.NewRouterServiceClient(channel)}
	checks := []struct {
		name string
		run  func() error
	}{
		{"health", judging.health},
		{"models", judging.models},
		{"answer", judging.answer},
		{"record", judging.record},
		{"stream", judging.stream},
		{"many at once", judging.many},
		{"same request twice", judging.twice},
		{"wrong key", judging.wrongKey},
		{"unknown model", judging.unknownModel},
		{"wrong field", judging.wrongField},
		{"malformed message", judging.malformed},
		{"unknown method", judging.unknownMethod},
		{"provider down", judging.down},
		{"cut answer", judging.cut},
		{"deadline", judging.deadline},
		{"deadline of a stream", judging.streamDeadline},
		{"cancel", judging.cancel},
	}
	failed := false
	for _, check := range checks {
		if err := check.run(); err != nil {
			fmt.Printf("FAIL %s: %v\n", check.name, err)
			failed = true
			continue
		}
		fmt.Println("ok", check.name)
	}
	if failed {
		os.Exit(1)
	}
}

// within returns a context with the key, which ends after so long.
func (j *judge) within(limit time.Duration) (context.Context, context.CancelFunc) {
	keyed := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+j.key)
	return context.WithTimeout(keyed, limit)
}

func (j *judge) spec(prompt string) *pb.CompletionSpec {
	text := &pb.Part{Content: &pb.Part_Text{Text: &pb.TextPart{Text: prompt}}}
	message := &pb.Message{Role: pb.Role_ROLE_USER, Parts: []*pb.Part{text}}
	return &pb.CompletionSpec{Model: j.model, Messages: []*pb.Message{message}}
}

func (j *judge) complete(prompt string, limit time.Duration) (*pb.CompleteResponse, error) {
	ctx, cancel := j.within(limit)
	defer cancel()
	return j.router.Complete(ctx, &pb.CompleteRequest{Spec: j.spec(prompt)})
}

func textOf(parts []*pb.Part) string {
	var text strings.Builder
	for _, part := range parts {
		text.WriteString(part.GetText().GetText())
	}
	return text.String()
}

// refused says what is wrong about an error that must have this code and this reason, nil if nothing is.
func refused(err error, code codes.Code, reason string) error {
	told := status.Convert(err)
	if told.Code() != code {
		return fmt.Errorf("status %v (%s), not %v", told.Code(), told.Message(), code)
	}
	for _, detail := range told.Details() {
		if info, is := detail.(*errdetails.ErrorInfo); is {
			if info.Domain != "junctor" || info.Reason != reason {
				return fmt.Errorf("reason %s of %s, not %s", info.Reason, info.Domain, reason)
			}
			return nil
		}
	}
	return fmt.Errorf("no ErrorInfo in %v", told)
}

func (j *judge) health() error {
	ctx, cancel := j.within(patience)
	defer cancel()
	asked := &grpc_health_v1.HealthCheckRequest{Service: "junctor.v1.RouterService"}
	found, err := grpc_health_v1.NewHealthClient(j.channel).Check(ctx, asked)
	if err == nil && found.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		err = fmt.Errorf("status %v", found.Status)
	}
	return err
}

func (j *judge) models() error {
	ctx, cancel := j.within(patience)
	defer cancel()
	seen, token := 0, ""
	for {
		page, err := pb.NewCatalogServiceClient(j.channel).ListModels(ctx, &pb.ListModelsRequest{PageToken: token})
		if err != nil {
			return err
		}
		seen += len(page.Models)
		if token = page.NextPageToken; token == "" {
			break
		}
	}
	if seen < 300 {
		return fmt.Errorf("%d models", seen)
	}
	return nil
}

func (j *judge) answer() error {
	got, err := j.complete("answer", patience)
	if err != nil {
		return err
	}
	text := textOf(got.Choices[0].Message.Parts)
	if text != answer || got.Usage.OutputTokens != 2 || got.Cost.GetCostNanousd() <= 0 || got.GenerationId == "" {
		return fmt.Errorf("got %v", got)
	}
	return nil
}

func (j *judge) record() error {
	got, err := j.complete("answer", patience)
	if err != nil {
		return err
	}
	ctx, cancel := j.within(patience)
	defer cancel()
	asked := &pb.GetGenerationRequest{GenerationId: got.GenerationId}
	kept, err := pb.NewUsageServiceClient(j.channel).GetGeneration(ctx, asked)
	if err != nil {
		return err
	}
	if kept.Generation.GetCostNanousd() != got.Cost.GetCostNanousd() {
		return fmt.Errorf("recorded %v, answered %v", kept.Generation, got.Cost)
	}
	return nil
}

func (j *judge) stream() error {
	ctx, cancel := j.within(patience)
	defer cancel()
	kinds, text, err := j.read(ctx, "answer")
	if err != nil {
		return err
	}
	if text != answer || kinds[0] != "opened" || kinds[len(kinds)-1] != "finished" {
		return fmt.Errorf("got %q by %v", text, kinds)
	}
	return nil
}

// read takes a stream to its end, and returns the kinds of its events and its text.
func (j *judge) read(ctx context.Context, prompt string) (kinds []string, text string, err error) {
	events, err := j.router.Stream(ctx, &pb.StreamRequest{Spec: j.spec(prompt)})
	if err != nil {
		return nil, "", err
	}
	for {
		batch, err := events.Recv()
		if errors.Is(err, io.EOF) {
			return kinds, text, nil
		}
		if err != nil {
			return kinds, text, err
		}
		for _, event := range batch.Events {
			switch happened := event.Event.(type) {
			case *pb.StreamEvent_Opened:
				kinds = append(kinds, "opened")
			case *pb.StreamEvent_Delta:
				kinds = append(kinds, "delta")
				text += happened.Delta.GetContent()
			case *pb.StreamEvent_Finished:
				kinds = append(kinds, "finished")
			}
		}
	}
}

func (j *judge) many() error {
	var group sync.WaitGroup
	failures := make([]error, many)
	for number := range many {
		group.Go(func() { _, failures[number] = j.complete("answer", patience) })
	}
	group.Wait()
	return errors.Join(failures...)
}

func (j *judge) twice() error {
	var id [16]byte
	_, _ = rand.Read(id[:])
	digits := hex.EncodeToString(id[:])
	named := strings.Join([]string{digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]}, "-")
	ctx, cancel := j.within(patience)
	defer cancel()
	request := &pb.CompleteRequest{Spec: j.spec("answer"), RequestId: &named}
	if _, err := j.router.Complete(ctx, request); err != nil {
		return err
	}
	_, err := j.router.Complete(ctx, request)
	return refused(err, codes.AlreadyExists, "REQUEST_COMPLETED")
}

func (j *judge) wrongKey() error {
	other := *j
	other.key = "jk_wrong"
	_, err := other.complete("answer", patience)
	return refused(err, codes.Unauthenticated, "API_KEY_INVALID")
}

func (j *judge) unknownModel() error {
	other := *j
	other.model = "nobody/nothing"
	_, err := other.complete("answer", patience)
	return refused(err, codes.NotFound, "MODEL_NOT_FOUND")
}

func (j *judge) wrongField() error {
	ctx, cancel := j.within(patience)
	defer cancel()
	hot := 9.0
	spec := j.spec("answer")
	spec.Temperature = &hot
	_, err := j.router.Complete(ctx, &pb.CompleteRequest{Spec: spec})
	if wrong := refused(err, codes.InvalidArgument, "INVALID_FIELD"); wrong != nil {
		return wrong
	}
	named := slices.ContainsFunc(status.Convert(err).Details(), func(detail any) bool {
		bad, is := detail.(*errdetails.BadRequest)
		return is && len(bad.FieldViolations) == 1 && bad.FieldViolations[0].Field == "spec.temperature"
	})
	if !named {
		return errors.New("the field is not named")
	}
	return nil
}

// raw passes bytes as they are.
type raw struct{}

func (raw) Marshal(value any) ([]byte, error)      { return *value.(*[]byte), nil }
func (raw) Unmarshal(data []byte, value any) error { *value.(*[]byte) = data; return nil }
func (raw) Name() string                           { return "proto" }

func (j *judge) sendRaw(method string, body []byte) error {
	ctx, cancel := j.within(patience)
	defer cancel()
	var got []byte
	return j.channel.Invoke(ctx, method, &body, &got, grpc.ForceCodec(raw{}))
}

func (j *judge) malformed() error {
	return refused(j.sendRaw(completeRPC, []byte{0x0a, 0xff, 0xff, 0x01}), codes.InvalidArgument, "INVALID_FIELD")
}

func (j *judge) unknownMethod() error {
	if code := status.Code(j.sendRaw("/junctor.v1.RouterService/Guess", nil)); code != codes.Unimplemented {
		return fmt.Errorf("status %v", code)
	}
	return nil
}

func (j *judge) down() error {
	_, err := j.complete("down", patience)
	return refused(err, codes.Unavailable, "UPSTREAM_UNAVAILABLE")
}

func (j *judge) cut() error {
	ctx, cancel := j.within(patience)
	defer cancel()
	kinds, _, err := j.read(ctx, "cut")
	if wrong := refused(err, codes.Aborted, "STREAM_INTERRUPTED"); wrong != nil {
		return wrong
	}
	if !slices.Contains(kinds, "delta") {
		return fmt.Errorf("nothing was delivered before: %v", kinds)
	}
	return nil
}

func (j *judge) deadline() error {
	began := time.Now()
	_, err := j.complete("silence", shortWait)
	if code := status.Code(err); code != codes.DeadlineExceeded || time.Since(began) > patience/2 {
		return fmt.Errorf("status %v after %v", code, time.Since(began))
	}
	return nil
}

func (j *judge) streamDeadline() error {
	ctx, cancel := j.within(shortWait)
	defer cancel()
	_, _, err := j.read(ctx, "silence")
	if code := status.Code(err); code != codes.DeadlineExceeded {
		return fmt.Errorf("status %v", code)
	}
	return nil
}

func (j *judge) cancel() error {
	ctx, cancel := j.within(patience)
	defer cancel()
	events, err := j.router.Stream(ctx, &pb.StreamRequest{Spec: j.spec("endless")})
	if err != nil {
		return err
	}
	for begun := false; !begun; {
		batch, err := events.Recv()
		if err != nil {
			return err
		}
		begun = slices.ContainsFunc(batch.Events, func(event *pb.StreamEvent) bool { return event.GetDelta() != nil })
	}
	cancel()
	for err == nil {
		_, err = events.Recv()
	}
	if status.Code(err) != codes.Canceled {
		return err
	}
	return nil
}
