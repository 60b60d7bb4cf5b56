package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"bench/pb"
)

const (
	freshFor   = time.Second
	staleUntil = 5 * time.Second
)

// boards reads boards through a cache in the process, and ranks from Phoenix.
type boards struct {
	pb.UnimplementedLeaderboardServiceServer
	phoenix *upstream
	mutex   sync.RWMutex
	cached  map[string]*cachedBoard
	flights singleflight.Group
}

type cachedBoard struct {
	board     *pb.Leaderboard
	fetchedAt time.Time
}

func newBoards(phoenix *upstream) *boards {
	return &boards{phoenix: phoenix, cached: map[string]*cachedBoard{}}
}

func (b *boards) GetLeaderboard(ctx context.Context, request *pb.GetLeaderboardRequest) (*pb.GetLeaderboardResponse, error) {
	size := int32(100)
	if request.PageSize != nil {
		size = *request.PageSize
	}
	if request.LeaderboardId == "" || size < 1 || size > 1000 {
		return nil, refuse(codes.InvalidArgument, "INVALID_FIELD", "Name a leaderboard, and a page size of 1 to 1,000.")
	}
	path := fmt.Sprintf("/v1/leaderboards/%s/%s?limit=%d&offset=0",
		b.phoenix.tenant, url.PathEscape(request.LeaderboardId), size)
	if request.WindowKey != "" {
		path += "&window_key=" + url.QueryEscape(request.WindowKey)
	}
	b.mutex.RLock()
	held := b.cached[path]
	b.mutex.RUnlock()
	source := pb.FreshnessSource_FRESHNESS_SOURCE_CACHE
	if held == nil || time.Since(held.fetchedAt) > staleUntil {
		fetched, err, _ := b.flights.Do(path, func() (any, error) { return b.fetch(ctx, path) })
		if err != nil {
			return nil, err
		}
		held = fetched.(*cachedBoard)
		source = pb.FreshnessSource_FRESHNESS_SOURCE_LIVE
	} else if time.Since(held.fetchedAt) > freshFor {
		b.flights.DoChan(path, func() (any, error) {
			ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
			defer cancel()
			return b.fetch(ctx, path)
		})
		source = pb.FreshnessSource_FRESHNESS_SOURCE_STALE
	}
	return &pb.GetLeaderboardResponse{
		Leaderboard: held.board,
		Freshness:   &pb.Freshness{Source: source, Age: durationpb.New(time.Since(held.fetchedAt))},
	}, nil
}

func (b *boards) fetch(ctx context.Context, path string) (*cachedBoard, error) {
	began := time.Now()
	body, err := b.phoenix.get(ctx, path)
	if err != nil {
		return nil, err
	}
	var page struct {
		WindowKey string `json:"window_key"`
		Entries   []struct {
			Rank   int64   `json:"rank"`
			UserID string  `json:"user_id"`
			Score  float64 `json:"score"`
		} `json:"entries"`
	}
	if err := json.Unmarshal(body, &page); err != nil {
		return nil, refuse(codes.Unavailable, "PHOENIX_ANSWER_UNREADABLE", "Phoenix's answer cannot be read.")
	}
	board := &pb.Leaderboard{WindowKey: page.WindowKey}
	for _, entry := range page.Entries {
		board.Entries = append(board.Entries, &pb.LeaderboardEntry{Rank: entry.Rank, UserId: entry.UserID, Score: entry.Score})
	}
	held := &cachedBoard{board: board, fetchedAt: began}
	b.mutex.Lock()
	b.cached[path] = held
	b.mutex.Unlock()
	return held, nil
}

func (b *boards) GetUserRank(ctx context.Context, request *pb.GetUserRankRequest) (*pb.GetUserRankResponse, error) {
	if request.LeaderboardId == "" || request.UserId == "" {
		return nil, refuse(codes.InvalidArgument, "INVALID_FIELD", "Name a leaderboard and a user.")
	}
	began := time.Now()
	body, err := b.phoenix.get(ctx, fmt.Sprintf("/v1/leaderboards/%s/%s/rank/%s",
		b.phoenix.tenant, url.PathEscape(request.LeaderboardId), url.PathEscape(request.UserId)))
	if err != nil {
		return nil, err
	}
	var found struct {
		Rank  int64   `json:"rank"`
		Score float64 `json:"score"`
	}
	if err := json.Unmarshal(body, &found); err != nil {
		return nil, refuse(codes.Unavailable, "PHOENIX_ANSWER_UNREADABLE", "Phoenix's answer cannot be read.")
	}
	return &pb.GetUserRankResponse{
		Ranked: true, Rank: found.Rank, Score: &found.Score,
		Freshness: &pb.Freshness{
			Source: pb.FreshnessSource_FRESHNESS_SOURCE_LIVE, Age: durationpb.New(time.Since(began)),
		},
	}, nil
}
